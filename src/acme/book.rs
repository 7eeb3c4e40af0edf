//! What happened, in the file and in memory at once.

use std::path::Path;

use super::fault::Fault;
use super::journal::{Journal, JournalError};
use super::ledger::{Entry, Event, Ledger};
use super::transport::now;

/// The journal and the ledger that follows from it. Whoever has it may order.
pub(super) struct Book {
    journal: Journal,
    ledger: Ledger,
}

impl Book {
    /// Locks and reads the journal in the folder of states.
    pub fn open(state: &Path) -> Result<Self, JournalError> {
        let (journal, entries) = Journal::open(state)?;
        Ok(Book { journal, ledger: ledger_of(&entries) })
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes down what happens now; it is on disk when this returns.
    pub fn record(&mut self, event: Event) -> Result<(), Fault> {
        let entry = self.journal.record(event)?;
        self.ledger.apply(&entry);
        Ok(())
    }

    /// Shortens the file if it is mostly history.
    pub fn tidy(&mut self) -> Result<(), Fault> {
        if self.journal.len() < COMPACT {
            return Ok(());
        }
        let mut ledger = self.ledger.clone();
        ledger.prune(now());
        let entry = Entry { at: now(), event: Event::Compacted { ledger: Box::new(ledger.clone()) } };
        // A ledger that is large for good reasons is not written again and again.
        let text = serde_json::to_vec(&entry).map_err(|error| Fault::Local(error.to_string()))?;
        if text.len() as u64 * 2 < self.journal.len() {
            self.journal.rewrite(std::slice::from_ref(&entry))?;
            self.ledger = ledger;
        }
        Ok(())
    }
}

/// What these entries come to.
pub(super) fn ledger_of(entries: &[Entry]) -> Ledger {
    let mut ledger = Ledger::default();
    entries.iter().for_each(|entry| ledger.apply(entry));
    ledger
}

/// Bytes of a journal that is worth shortening.
const COMPACT: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_is_shortened_and_comes_to_the_same() {
        let state = tempfile::tempdir().unwrap();
        let mut book = Book::open(state.path()).unwrap();
        let names = vec!["a.example.org".to_owned()];
        book.record(Event::Ordering { order: 1, names, replaces: None }).unwrap();
        let url = "https://ca.example/".to_owned() + &"x".repeat(40_000);
        for _ in 0..30 {
            book.record(Event::Ordered { order: 1, url: url.clone() }).unwrap();
        }
        let long = book.journal.len();
        assert!(long > COMPACT);
        let before = book.ledger.clone();
        book.tidy().unwrap();
        assert!(book.journal.len() < long / 2 && book.ledger == before);
        drop(book);
        assert_eq!(Book::open(state.path()).unwrap().ledger, before);
    }
}
