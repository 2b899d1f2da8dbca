//! Trouble that is no run's own: a full disk, a store that cannot be written, no file descriptor left. Every run would fail of
//! it, so none does: nothing begins for a while, and in the end the schedule stops.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::store::Store;

/// The longest rest between two tries.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}", .0.display())]
pub(super) struct CannotStart(pub(super) PathBuf);

/// No lease can be made.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be used")]
pub(super) struct Unusable;

/// Since when there is trouble, and until when nothing is tried.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
    rest: Option<(Instant, Duration)>,
}

impl Trouble {
    /// There was some; says how long to rest, and whether there has been any for longer than `patience`.
    pub(super) fn meet(&mut self, patience: Duration) -> (Duration, bool) {
        let now = Instant::now();
        // Nobody met any for so long that this is another.
        if self
            .rest
            .is_some_and(|(until, _)| now > until + 2 * LONGEST_REST)
        {
            self.pass();
        }
        let since = *self.since.get_or_insert(now);
        let rest = match self.rest {
            // Several runs meet it at once.
            Some((until, rest)) if until > now => rest,
            Some((_, rest)) => (rest * 2).min(LONGEST_REST),
            None => Duration::from_secs(1),
        };
        self.rest = Some((now + rest, rest));
        (rest, now - since > patience)
    }

    /// An attempt ended without any.
    pub(super) fn pass(&mut self) {
        *self = Trouble::default();
    }

    /// Whether nothing is to be tried now.
    pub(super) fn rests(&self) -> bool {
        self.rest.is_some_and(|(until, _)| until > Instant::now())
    }
}

/// Whether another run would meet the same error.
pub(super) fn is_of_the_machine(error: &anyhow::Error, store: &Store) -> bool {
    let number = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
    };
    let is_known = |number: i32| {
        matches!(
            number,
            libc::ENOSPC
                | libc::EDQUOT
                | libc::EROFS
                | libc::EMFILE
                | libc::ENFILE
                | libc::EIO
                | libc::ESTALE
                | libc::EAGAIN
                | libc::ENOMEM
                | libc::EFBIG
                | libc::EACCES
                | libc::EPERM
        )
    };
    error.is::<CannotStart>()
        || error.is::<Unusable>()
        || error.chain().filter_map(number).any(is_known)
        || store.try_to_write().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_and_runs_that_meet_the_same_trouble_rest_together() {
        let mut trouble = Trouble::default();
        assert!(!trouble.rests());
        let second = Duration::from_secs(1);
        let patience = Duration::from_secs(600);
        assert_eq!(trouble.meet(patience), (second, false));
        assert_eq!(trouble.meet(patience), (second, false));
        assert!(trouble.rests());
        trouble.rest = Some((Instant::now(), second));
        assert_eq!(trouble.meet(patience), (2 * second, false));
        assert!(trouble.meet(Duration::ZERO).1);
        trouble.pass();
        assert!(!trouble.rests());
        assert_eq!(trouble.meet(patience), (second, false));
    }
}
