//! What a fetch shows while it works: bytes and time left on a terminal, a line per file elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::hub::{Holding, Told, What};

/// A display of a fetch.
pub struct Transfer {
    out: Out,
    /// Bytes that are here, by repository and path, of files that are coming.
    here: BTreeMap<(String, String), u64>,
    files: usize,
    ended: usize,
}

enum Out {
    Live(ProgressBar),
    Plain(Box<dyn Write>),
}

impl Transfer {
    /// The one that fits standard error.
    pub fn new(holdings: &[Holding]) -> Transfer {
        if !std::io::stderr().is_terminal() {
            return Transfer::plain(holdings, Box::new(std::io::stderr()));
        }
        let missing = || holdings.iter().flat_map(Holding::missing);
        let bar = ProgressBar::new(missing().map(|file| file.size).sum());
        let template = "{bar:24} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left{msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        // What was here before is no speed of this fetch.
        bar.set_position(missing().map(|file| file.here).sum());
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_secs(1));
        Transfer::to(Out::Live(bar), holdings)
    }

    /// Plain lines to `out`.
    pub fn plain(holdings: &[Holding], out: Box<dyn Write>) -> Transfer {
        Transfer::to(Out::Plain(out), holdings)
    }

    fn to(out: Out, holdings: &[Holding]) -> Transfer {
        let missing = |holding: &Holding| {
            let repository = holding.repository.to_string();
            let one =
                |file: &crate::hub::File| ((repository.clone(), file.path.clone()), file.here);
            holding.missing().map(one).collect::<Vec<_>>()
        };
        let here: BTreeMap<_, _> = holdings.iter().flat_map(missing).collect();
        Transfer {
            out,
            files: here.len(),
            here,
            ended: 0,
        }
    }

    /// Shows it.
    pub fn tell(&mut self, told: &Told<'_>) {
        let (repository, path) = (told.repository.to_string(), &told.file.path);
        let name = format!("`{path}` of {repository}");
        let bytes = |here: u64, all: &mut BTreeMap<_, _>| {
            all.insert((repository.clone(), path.clone()), here);
        };
        match &told.what {
            What::Begun => {}
            What::Bytes(here) => bytes(*here, &mut self.here),
            What::Waiting { reason, wait } => {
                let wait = wait.map_or(String::new(), |wait| {
                    format!("; again in {}", crate::time::shown(wait.as_secs_f64()))
                });
                self.line(&format!("{name}: {reason}{wait}"));
            }
            What::Done => {
                bytes(told.file.size, &mut self.here);
                self.ended += 1;
                let count = format!("[{}/{}]", self.ended, self.files);
                self.line(&format!("{count} {name}: {}", super::bytes(told.file.size)));
            }
            What::Failed(error) => {
                self.ended += 1;
                let count = format!("[{}/{}]", self.ended, self.files);
                let error = super::causes(error);
                self.line(&format!("{count} {name}: failed: {error}"));
            }
        }
        if let Out::Live(bar) = &self.out {
            bar.set_position(self.here.values().sum());
        }
    }

    /// Leaves the terminal as it was.
    pub fn close(&mut self) {
        if let Out::Live(bar) = &self.out {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, line: &str) {
        match &mut self.out {
            Out::Live(bar) => bar.println(line),
            // A reader that went away is no reason to stop.
            Out::Plain(out) => drop(writeln!(out, "{line}")),
        }
    }
}
