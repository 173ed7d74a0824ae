//! Adds the words of messages to the search index in bulk. Without a pending list, each new word rewrote the list of
//! the messages that contain the word, and that was most of what PostgreSQL wrote per message.

/// New words wait in a pending list, which every search reads from end to end. The limit (in kB) keeps the list short.
pub const UP: &str = "ALTER INDEX message_search_words SET (fastupdate = on, gin_pending_list_limit = 256)";

/// Cleans the pending list. It would stay until a vacuum, and every search would read it until then.
pub const DOWN: &str = "ALTER INDEX message_search_words SET (fastupdate = off); \
    ALTER INDEX message_search_words RESET (gin_pending_list_limit); \
    SELECT gin_clean_pending_list('message_search_words')";
