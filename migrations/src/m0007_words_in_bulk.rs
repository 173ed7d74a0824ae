//! Lets PostgreSQL add the words of messages to the search index in bulk. If each word is added at once, PostgreSQL
//! rewrites the list of all messages that contain the word, which is most of what it writes per message.

/// New words wait in a pending list of at most 256 kB, which every search reads completely.
pub const UP: &str = "ALTER INDEX message_search_words SET (fastupdate = on, gin_pending_list_limit = 256)";

/// Also empties the pending list, because every search would read the old list until the next vacuum.
pub const DOWN: &str = "ALTER INDEX message_search_words SET (fastupdate = off); \
    ALTER INDEX message_search_words RESET (gin_pending_list_limit); \
    SELECT gin_clean_pending_list('message_search_words')";
