//! Bounds the pages of all lists in bytes. SQL counts the stored bytes of the rows and sends no row after the one that
//! spends the budget, so a request holds few long rows. Rust counts the bytes of the JSON, which is longer; for pages of
//! messages it estimates them, because these are read most.

use std::io;

use sea_orm::{DbErr, QueryResult, Value};
use serde::Serialize;
use tidings_shared::limits::MAX_PAGE_BYTES;

/// The bytes that the items of a page may still have. The first item always fits, so that a client that reads page by
/// page makes progress.
#[derive(Debug)]
pub struct PageBudget {
    left: usize,
    is_empty: bool,
    is_full: bool,
}

impl Default for PageBudget {
    fn default() -> Self {
        Self::new(MAX_PAGE_BYTES)
    }
}

impl PageBudget {
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes, is_empty: true, is_full: false }
    }

    /// The bytes that are left, for the SQL that reads the next rows: see `budget_begin!`. At least 1, with which SQL
    /// sends one row, because a row that does not fit shows that there are more.
    #[must_use]
    pub fn sql_value(&self) -> Value {
        i64::try_from(self.left.max(1)).unwrap_or(i64::MAX).into()
    }

    /// Whether an item of this many bytes is part of the page. After the first item that is not, no item is.
    /// `ends_page` says that SQL may have left out the rows after this item's row.
    pub fn admit_bytes(&mut self, bytes: usize, ends_page: bool) -> bool {
        let with_comma = bytes + 1;
        let fits = !self.is_full && (self.is_empty || (with_comma <= self.left && !ends_page));
        self.is_full |= ends_page || !fits;
        self.is_empty = false;
        self.left = if fits { self.left.saturating_sub(with_comma) } else { self.left };
        fits
    }

    /// Whether an item is part of the page: see [`Self::admit_bytes`].
    pub fn admit(&mut self, item: &impl Serialize, ends_page: bool) -> bool {
        self.admit_bytes(serialized_bytes(item), ends_page)
    }

    /// The items of the first rows that are part of the page. The rows come from `budget_begin!`.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn admit_rows<T: Serialize>(
        &mut self,
        rows: &[QueryResult],
        read: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, DbErr> {
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let item = read(row)?;
            if !self.admit(&item, ends_page(row)?) {
                break;
            }
            items.push(item);
        }
        Ok(items)
    }

    /// Whether the page ends here, although there are, or may be, more items.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }
}

/// Removes the items beyond `limit` and beyond the budget of a page. Returns whether it removed any. For items that are
/// so short that SQL needs no budget.
pub fn truncate_page<T: Serialize>(items: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut budget = PageBudget::default();
    let fitting = items.iter().take(limit).take_while(|item| budget.admit(item, false)).count();
    let more = fitting < items.len();
    items.truncate(fitting);
    more
}

/// Whether SQL may have left out the rows after this row, because the row spends the budget.
///
/// # Errors
/// When the row has no column `ends_page`.
pub fn ends_page(row: &QueryResult) -> Result<bool, DbErr> {
    row.try_get::<Option<bool>>("", "ends_page").map(Option::unwrap_or_default)
}

/// The length of an item as JSON. An item that cannot be written counts as 0, because it fails the whole answer later.
fn serialized_bytes(item: &impl Serialize) -> usize {
    let mut count = ByteCount(0);
    serde_json::to_writer(&mut count, item).map_or(0, |()| count.0)
}

/// A writer that counts bytes and drops them.
struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 += bytes.len();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_admitted_until_the_budget_is_spent() {
        let mut budget = PageBudget::new(10);
        assert!(budget.admit_bytes(4, false));
        assert!(budget.admit_bytes(4, false), "commas count");
        assert!(!budget.is_full());
        assert!(!budget.admit_bytes(1, false));
        assert!(budget.is_full());
        assert!(!budget.admit_bytes(0, false), "a page has no item after the first that does not fit");
    }

    #[test]
    fn first_item_is_admitted_whatever_its_size() {
        let mut budget = PageBudget::new(10);
        assert!(budget.admit_bytes(4_000, false));
        assert!(!budget.admit_bytes(1, false));
    }

    #[test]
    fn row_that_ends_the_page_in_sql_fills_the_budget() {
        let mut budget = PageBudget::new(10);
        assert!(budget.admit_bytes(1, false));
        assert!(!budget.admit_bytes(1, true));
        let mut alone = PageBudget::new(10);
        assert!(alone.admit_bytes(1, true));
        assert!(alone.is_full());
        assert!(!alone.admit_bytes(1, false));
    }

    #[test]
    fn bytes_are_those_of_the_json() {
        for text in ["", "plain", "\"\u{1}é\n"] {
            let json = serde_json::json!({ "text": text, "list": [1, null] });
            assert_eq!(serialized_bytes(&json), json.to_string().len());
        }
    }

    #[test]
    fn page_is_truncated_at_its_limit_and_its_bytes() {
        let mut short = vec!["a"; 5];
        assert!(!truncate_page(&mut short, 5));
        assert!(truncate_page(&mut short, 3));
        assert_eq!(short.len(), 3);
        let long = "a".repeat(MAX_PAGE_BYTES / 4);
        let mut long = vec![long.as_str(); 5];
        assert!(truncate_page(&mut long, 5));
        assert_eq!(long.len(), 3, "quotes and commas count");
    }
}
