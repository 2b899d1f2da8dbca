//! One file: what came before is kept, the rest is asked for, the whole is verified, and only then named.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use super::Hub;
use super::cache::{Place, length};
use super::digest::Hash;
use super::error::Error;
use super::fetch::What;
use super::http::{Answer, Ask, Rest, Trouble, encoded, header};
use super::need::Repository;
use super::survey::File;

/// Between two attempts at a lock that another process holds.
const POLL: Duration = Duration::from_millis(200);

impl Hub {
    /// Gets `file` of `repository` into its place in the cache.
    pub(super) fn download(
        &self,
        repository: &Repository,
        file: &File,
        stop: &dyn Fn() -> bool,
        tell: &dyn Fn(What),
    ) -> Result<(), Error> {
        let place = Place::new(&self.cache, repository);
        place.prepare()?;
        let mut told = false;
        let _lock = loop {
            match place.lock(&file.digest)? {
                Some(lock) => break lock,
                None if stop() => return Err(Error::Stopped),
                None if !told => {
                    told = true;
                    tell(What::Waiting {
                        reason: "another process fetches it".into(),
                        wait: None,
                    });
                }
                None => std::thread::sleep(POLL),
            }
        };
        let blob = place.blob(&file.digest);
        // Another process, or a file of the same content, may have brought it.
        let here = length(&blob) == Some(file.size)
            && file
                .digest
                .is_of(&blob, file.size)
                .map_err(Error::io(&blob))?;
        if !here {
            let partial = place.incomplete(&file.digest);
            let mut partial = Partial::open(partial, file)?;
            let what = format!("`{}` of {repository}", file.path);
            let waiting = |reason: &str, wait: Duration| {
                tell(What::Waiting {
                    reason: reason.into(),
                    wait: Some(wait),
                });
            };
            let ask = Ask {
                what: &what,
                repository,
                stop,
                waiting: &waiting,
            };
            let address = format!(
                "{}/{}/resolve/{}/{}",
                self.settings.endpoint,
                repository.hf().url(),
                repository.revision,
                encoded(&file.path)
            );
            self.persist(&ask, || self.attempt(&ask, &address, &mut partial, tell))?;
            partial.file.sync_all().map_err(Error::io(&partial.path))?;
            fs::rename(&partial.path, &blob).map_err(Error::io(&blob))?;
        }
        place.link(&file.digest, &file.path)
    }

    /// Asks for what is missing of `partial`; succeeds when it is whole and verified.
    fn attempt(
        &self,
        ask: &Ask<'_>,
        address: &str,
        partial: &mut Partial<'_>,
        tell: &dyn Fn(What),
    ) -> Result<(), Trouble> {
        if partial.have < partial.of.size {
            let rest = Rest {
                from: partial.have,
                tag: partial.of.digest.text(),
            };
            let rest = Some(&rest).filter(|rest| rest.from > 0 && !partial.distrusted);
            let answer = self.get(ask, address, rest)?;
            partial.begin(&answer, rest.is_some())?;
            tell(What::Bytes(partial.have));
            partial.receive(answer, ask.stop, tell)?;
        }
        partial.verify()
    }
}

/// What has come of a file.
struct Partial<'a> {
    path: std::path::PathBuf,
    file: fs::File,
    of: &'a File,
    /// Bytes that have come.
    have: u64,
    /// The most that ever had.
    most: u64,
    /// Their hash.
    hash: Hash,
    /// The server does not give the rest of a file as it should, so the whole is asked for.
    distrusted: bool,
}

impl<'a> Partial<'a> {
    fn open(path: std::path::PathBuf, of: &'a File) -> Result<Partial<'a>, Error> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        let mut hash = of.digest.start(of.size);
        let mut have = file.metadata().map_err(Error::io(&path))?.len();
        if have > of.size {
            file.set_len(0).map_err(Error::io(&path))?;
            have = 0;
        }
        hash.read(&mut file).map_err(Error::io(&path))?;
        Ok(Partial {
            path,
            file,
            of,
            have,
            most: have,
            hash,
            distrusted: false,
        })
    }

    /// Forgets everything that has come.
    fn restart(&mut self) -> Result<(), Error> {
        self.have = 0;
        self.hash = self.of.digest.start(self.of.size);
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::io(&self.path))?;
        Ok(())
    }

    /// Holds the headers of an answer against what was asked for.
    fn begin(&mut self, answer: &Answer, asked_for_rest: bool) -> Result<(), Trouble> {
        let headers = answer.response.headers();
        let is_rest = answer.response.status().as_u16() == 206;
        if is_rest {
            let said = header(headers, "content-range").unwrap_or("");
            if !asked_for_rest || !names_rest(said, self.have, self.of.size) {
                self.distrusted = true;
                return Err(Trouble::again("the server sends another part of the file"));
            }
        }
        let due = self.of.size - if is_rest { self.have } else { 0 };
        let length = header(headers, "content-length").and_then(|text| text.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| *length != due) {
            return Err(Trouble::again(format!(
                "the server sends {length} bytes where {due} are due"
            )));
        }
        if !is_rest {
            self.restart()?;
        }
        Ok(())
    }

    /// Takes the body of an answer.
    fn receive(
        &mut self,
        answer: Answer,
        stop: &dyn Fn() -> bool,
        tell: &dyn Fn(What),
    ) -> Result<(), Trouble> {
        let before = self.most;
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0; 256 << 10];
        let broke_off = loop {
            if stop() {
                return Err(Error::Stopped.into());
            }
            match body.read(&mut buffer) {
                Ok(0) => break None,
                Ok(n) if self.have + n as u64 > self.of.size => {
                    self.restart()?;
                    return Err(Trouble::again("the server sends more than the file has"));
                }
                Ok(n) => {
                    self.file
                        .write_all(&buffer[..n])
                        .map_err(Error::io(&self.path))?;
                    self.hash.update(&buffer[..n]);
                    self.have += n as u64;
                    self.most = self.most.max(self.have);
                    tell(What::Bytes(self.have));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error.kind()),
            }
        };
        if self.have == self.of.size {
            return Ok(());
        }
        let why = broke_off.map_or(String::new(), |kind| format!(" ({kind})"));
        Err(Trouble::Again {
            reason: format!(
                "the transfer breaks off after {} of {} bytes{why}",
                self.have, self.of.size
            ),
            wait: None,
            status: 0,
            progress: self.most > before,
        })
    }

    /// Holds what has come against the listing's hash.
    fn verify(&mut self) -> Result<(), Trouble> {
        if self.hash.text() == self.of.digest.text() {
            return Ok(());
        }
        self.restart()?;
        Err(Trouble::again(
            "the content is not what the listing says (its hash differs)",
        ))
    }
}

/// Whether `said` is `bytes <from>-<size - 1>/<size>`; the size may be unknown, `*`.
fn names_rest(said: &str, from: u64, size: u64) -> bool {
    let last = size.saturating_sub(1);
    said == format!("bytes {from}-{last}/{size}") || said == format!("bytes {from}-{last}/*")
}
