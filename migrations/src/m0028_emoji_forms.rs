//! Gives the emoji of stored reactions the form that the services give to new ones: `tidings_shared::emoji`
//! (docs/PROTOCOL.md, "Changing messages").

use crate::online::Step;

/// The characters that are text without U+FE0F, as the inside of a bracket expression (`[…]`) of a regular expression.
macro_rules! text_by_default {
    () => {
        concat!(
            r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9-\u21aa\u2328\u23cf\u23ed-\u23ef\u23f1-\u23f2",
            r"\u23f8-\u23fa\u24c2\u25aa-\u25ab\u25b6\u25c0\u25fb-\u25fc\u2600-\u2604\u260e\u2611\u2618\u261d\u2620",
            r"\u2622-\u2623\u2626\u262a\u262e-\u262f\u2638-\u263a\u2640\u2642\u265f-\u2660\u2663\u2665-\u2666",
            r"\u2668\u267b\u267e\u2692\u2694-\u2697\u2699\u269b-\u269c\u26a0\u26a7\u26b0-\u26b1\u26c8\u26cf\u26d1",
            r"\u26d3\u26e9\u26f0-\u26f1\u26f4\u26f7-\u26f9\u2702\u2708-\u2709\u270c-\u270d\u270f\u2712\u2714\u2716",
            r"\u271d\u2721\u2733-\u2734\u2744\u2747\u2763-\u2764\u27a1\u2934-\u2935\u2b05-\u2b07\u3030\u303d\u3297",
            r"\u3299\U0001f170-\U0001f171\U0001f17e-\U0001f17f\U0001f202\U0001f237\U0001f321\U0001f324-\U0001f32c",
            r"\U0001f336\U0001f37d\U0001f396-\U0001f397\U0001f399-\U0001f39b\U0001f39e-\U0001f39f",
            r"\U0001f3cb-\U0001f3ce\U0001f3d4-\U0001f3df\U0001f3f3\U0001f3f5\U0001f3f7\U0001f43f\U0001f441",
            r"\U0001f4fd\U0001f549-\U0001f54a\U0001f56f-\U0001f570\U0001f573-\U0001f579\U0001f587",
            r"\U0001f58a-\U0001f58d\U0001f590\U0001f5a5\U0001f5a8\U0001f5b1-\U0001f5b2\U0001f5bc",
            r"\U0001f5c2-\U0001f5c4\U0001f5d1-\U0001f5d3\U0001f5dc-\U0001f5de\U0001f5e1\U0001f5e3\U0001f5e8",
            r"\U0001f5ef\U0001f5f3\U0001f5fa\U0001f6cb\U0001f6cd-\U0001f6cf\U0001f6e0-\U0001f6e5\U0001f6e9",
            r"\U0001f6f0\U0001f6f3",
        )
    };
}

/// The one form of the emoji in a column. Of selectors alone nothing would be left, so they stay.
macro_rules! one_form {
    ($emoji:literal) => {
        concat!(
            "COALESCE(NULLIF(regexp_replace(regexp_replace(",
            $emoji,
            r", '[\uFE0E\uFE0F]', '', 'g'), '([",
            text_by_default!(),
            r"]|[0-9#*](?=\u20E3))(?![\U0001F3FB-\U0001F3FF])', '\1",
            "\u{fe0f}",
            "', 'g'), ''), ",
            $emoji,
            ")",
        )
    };
}

/// If a user gave an emoji in two forms, one reaction remains. The triggers of `reactions` count again. The last step
/// reads the whole table once, 10,000 reactions per transaction, and writes only those in another form. It leaves out
/// reactions without a count: their message was deleted, and a count would show them again.
///
/// Nodes of the previous version still write other forms, which no later change could remove. The trigger `emoji_form`
/// gives them the one form. A later migration drops it. The function is created with OR REPLACE, because it may exist:
/// `fresh` drops only tables.
pub const UP: &[Step] = &[
    Step::Sql(concat!(
        "CREATE OR REPLACE FUNCTION set_emoji_form() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN \
           NEW.emoji := ",
        one_form!("NEW.emoji"),
        "; RETURN NEW; \
         END $$",
    )),
    Step::Sql(concat!(
        r"CREATE OR REPLACE TRIGGER emoji_form BEFORE INSERT ON reactions
            FOR EACH ROW WHEN (NEW.emoji ~ '[\uFE0E\uFE0F\u20E3",
        text_by_default!(),
        "]') EXECUTE FUNCTION set_emoji_form()",
    )),
    // The batch is limited and not only a range, because PostgreSQL would guess the size of a range, and might read the
    // whole table for each batch.
    Step::Sql(concat!(
        "DO $$ \
         DECLARE \
           last_room text COLLATE \"C\" := ''; \
           last_seq bigint := 0; \
           last_emoji text COLLATE \"C\" := ''; \
           last_user text COLLATE \"C\" := ''; \
         BEGIN \
           LOOP \
             WITH batch AS MATERIALIZED (SELECT r.room_id, r.seq, r.emoji, r.user_id, ",
        one_form!("r.emoji"),
        " AS fixed FROM reactions r \
                 WHERE (r.room_id, r.seq, r.emoji, r.user_id) > (last_room, last_seq, last_emoji, last_user) \
                 ORDER BY r.room_id, r.seq, r.emoji, r.user_id LIMIT 10000), \
               deleted AS (DELETE FROM reactions r USING batch b WHERE r.room_id = b.room_id AND r.seq = b.seq \
                   AND r.emoji = b.emoji AND r.user_id = b.user_id AND b.fixed <> b.emoji \
                   AND EXISTS (SELECT FROM reaction_counts c \
                     WHERE c.room_id = b.room_id AND c.seq = b.seq AND c.emoji = b.emoji) \
                 RETURNING r.room_id, r.seq, r.user_id, r.at, r.event_seq, b.fixed), \
               inserted AS (INSERT INTO reactions (room_id, seq, emoji, user_id, at, event_seq) \
                 SELECT room_id, seq, fixed, user_id, at, event_seq FROM deleted ORDER BY event_seq \
                 ON CONFLICT DO NOTHING) \
             SELECT b.room_id, b.seq, b.emoji, b.user_id INTO last_room, last_seq, last_emoji, last_user \
               FROM batch b ORDER BY b.room_id DESC, b.seq DESC, b.emoji DESC, b.user_id DESC LIMIT 1; \
             EXIT WHEN last_room IS NULL; \
             COMMIT; \
           END LOOP; \
         END $$",
    )),
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP TRIGGER IF EXISTS emoji_form ON reactions"),
    Step::Sql("DROP FUNCTION IF EXISTS set_emoji_form()"),
];
