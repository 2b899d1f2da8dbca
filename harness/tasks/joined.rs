//! Several sets of examples, one behind another.

/// Finds the set of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// Number of examples up to the end of each set.
    ends: Vec<usize>,
}

impl Joined {
    /// Sets with so many examples each.
    pub(super) fn new(sizes: impl Iterator<Item = usize>) -> Self {
        let ends = sizes.scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        Self {
            ends: ends.collect(),
        }
    }

    /// Number of examples.
    pub(super) fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The set of the example at `place`, and its place there.
    pub(super) fn find(&self, place: usize) -> (usize, usize) {
        assert!(place < self.len(), "place {place} of {}", self.len());
        let set = self.ends.partition_point(|&end| end <= place);
        let start = if set == 0 { 0 } else { self.ends[set - 1] };
        (set, place - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_through_the_sets_and_skip_empty_ones() {
        let joined = Joined::new([2, 0, 1].into_iter());
        let found: Vec<_> = (0..joined.len()).map(|place| joined.find(place)).collect();
        assert_eq!(found, [(0, 0), (0, 1), (2, 0)]);
    }
}
