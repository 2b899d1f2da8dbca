//! Where the parts of a suite stand in its file.

use super::yaml::Node;

/// The lines of a suite's file by path, `/tables/0/rows/3`.
#[derive(Clone, Debug)]
pub struct Lines {
    tree: Node,
    /// Byte offset of every line break.
    breaks: Vec<usize>,
}

impl Lines {
    pub(super) fn new(text: &str, tree: Node) -> Lines {
        Lines {
            tree,
            breaks: text.match_indices('\n').map(|(at, _)| at).collect(),
        }
    }

    /// The line, counted from 1, of what stands at `path`: keys and positions, each after a slash. Of a part that an
    /// alias repeats, the line of its anchor; of a path that leads nowhere, that of its last step that exists.
    pub fn of(&self, path: &str) -> usize {
        let found = path
            .match_indices('/')
            .map(|(end, _)| &path[..end])
            .chain([path])
            .map_while(|path| self.tree.at(path))
            .last();
        let start = found.unwrap_or(&self.tree).span.start;
        1 + self.breaks.partition_point(|at| *at < start)
    }
}
