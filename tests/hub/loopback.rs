//! A hub on this machine that can misbehave, with a second host for large files.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Files of more bytes than this are large: they are named by SHA-256 and lie on the other host.
pub const LARGE: usize = 10_000;

/// How the answer to a request for a file goes wrong.
#[derive(Clone, Debug)]
pub enum Trick {
    /// This status and these headers, with a text that is not the file.
    Status(u16, &'static str),
    /// The transfer ends after so many bytes of the body.
    BreakOff(usize),
    /// As many bytes, but others.
    OtherBytes,
    /// A byte more than the file has, and a header that says so.
    Longer,
    /// A byte more than the file has, sent until the connection closes.
    Endless,
    /// The whole file, whatever was asked for.
    Whole,
    /// Another part than was asked for.
    OtherPart,
    /// Half of a whole file, nothing of a rest, and then silence for so long.
    Silent(Duration),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub target: String,
    pub headers: BTreeMap<String, String>,
}

/// Files by path.
type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct State {
    /// By `models/owner/name` and revision.
    repositories: Mutex<BTreeMap<(String, String), Files>>,
    /// Tricks by path of a file, in the order they are played.
    tricks: Mutex<BTreeMap<String, VecDeque<Trick>>>,
    /// What was asked of the hub, and of the host for large files.
    heard: Mutex<[Vec<Heard>; 2]>,
    /// Entries of a page of a listing.
    page: Mutex<Page>,
    closed: AtomicBool,
}

/// How listings are told.
#[derive(Clone, Copy)]
pub enum Page {
    Of(usize),
    /// Every page names the first as the next.
    Circle,
    /// A listing with a path that leads out of the repository.
    Hostile,
    /// Every file has a quintillion bytes.
    Huge,
}

impl Default for Page {
    fn default() -> Page {
        Page::Of(2)
    }
}

/// It ends when it is dropped.
pub struct Loopback {
    state: Arc<State>,
    hosts: [SocketAddr; 2],
}

impl Loopback {
    pub fn start() -> Loopback {
        let state = Arc::new(State::default());
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [listen(), listen()];
        let hosts = [0, 1].map(|host| listeners[host].local_addr().unwrap());
        for (host, listener) in listeners.into_iter().enumerate() {
            let state = state.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if state.closed.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = state.clone();
                    // A client that goes away in the middle is part of the tests.
                    std::thread::spawn(move || {
                        let _ = serve(&state, host, hosts[1], stream.unwrap());
                    });
                }
            });
        }
        Loopback { state, hosts }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hosts[0])
    }

    /// Puts a file into a repository, `models/owner/name`.
    pub fn put(&self, repository: &str, revision: &str, path: &str, bytes: &[u8]) {
        let mut repositories = self.state.repositories.lock().unwrap();
        let key = (repository.to_string(), revision.to_string());
        let files = repositories.entry(key).or_default();
        files.insert(path.into(), bytes.into());
    }

    /// The next answers for the file `path` go wrong so.
    pub fn play(&self, path: &str, tricks: impl IntoIterator<Item = Trick>) {
        let mut all = self.state.tricks.lock().unwrap();
        all.insert(path.into(), tricks.into_iter().collect());
    }

    pub fn page(&self, page: Page) {
        *self.state.page.lock().unwrap() = page;
    }

    /// What was asked of the hub, and of the host for large files, since the last time.
    pub fn heard(&self) -> [Vec<Heard>; 2] {
        std::mem::take(&mut self.state.heard.lock().unwrap())
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        for host in self.hosts {
            let _ = TcpStream::connect(host);
        }
    }
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a file's content.
pub fn oid(bytes: &[u8]) -> String {
    if bytes.len() > LARGE {
        hexadecimal(&Sha256::digest(bytes))
    } else {
        let hash = Sha1::new().chain_update(format!("blob {}\0", bytes.len()));
        hexadecimal(&hash.chain_update(bytes).finalize())
    }
}

fn serve(state: &State, host: usize, large: SocketAddr, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("").to_string();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_string());
    }
    let heard = Heard {
        target: target.clone(),
        headers: headers.clone(),
    };
    state.heard.lock().unwrap()[host].push(heard);
    if let Some(rest) = target.strip_prefix("/api/") {
        return list(state, rest, stream);
    }
    let (address, query) = target.split_once('?').unwrap_or((&target, ""));
    let Some((repository, rest)) = address[1..].split_once("/resolve/") else {
        return answer(stream, 404, "", b"no such page");
    };
    let (revision, path) = rest.split_once('/').unwrap();
    let repository = match repository.strip_prefix("datasets/") {
        Some(name) => format!("datasets/{name}"),
        None => format!("models/{}", repository.trim_start_matches("models/")),
    };
    let key = (repository, revision.to_string());
    let bytes = {
        let repositories = state.repositories.lock().unwrap();
        repositories
            .get(&key)
            .and_then(|files| files.get(path))
            .cloned()
    };
    let Some(bytes) = bytes else {
        return answer(
            stream,
            404,
            "X-Error-Code: EntryNotFound\r\n",
            b"no such file",
        );
    };
    let tag = oid(&bytes);
    if bytes.len() > LARGE && host == 0 {
        let location = format!(
            "Location: http://{large}{address}?signature=private\r\nX-Linked-Etag: \"{tag}\"\r\n"
        );
        return answer(stream, 302, &location, b"");
    }
    assert!(host == 0 || query == "signature=private");
    let trick = {
        let mut tricks = state.tricks.lock().unwrap();
        tricks.get_mut(path).and_then(VecDeque::pop_front)
    };
    send(stream, &bytes, &tag, headers.get("range"), trick)
}

/// The file from where it was asked for, unless a trick says otherwise.
fn send(
    mut stream: TcpStream,
    bytes: &[u8],
    tag: &str,
    range: Option<&String>,
    trick: Option<Trick>,
) -> std::io::Result<()> {
    if let Some(Trick::Status(status, headers)) = trick {
        return answer(stream, status, headers, b"this is not the file");
    }
    let from = range.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let from: usize = match trick {
        Some(Trick::Whole) => 0,
        _ => from.unwrap_or(0),
    };
    let size = bytes.len();
    let mut body = bytes[from..].to_vec();
    let mut headers = format!("ETag: \"{tag}\"\r\n");
    if from > 0 {
        let shift = usize::from(matches!(trick, Some(Trick::OtherPart)));
        headers += &format!(
            "Content-Range: bytes {}-{}/{size}\r\n",
            from - shift,
            size - 1
        );
    }
    match trick {
        Some(Trick::OtherBytes) => body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Trick::Longer | Trick::Endless) => body.push(0),
        _ => {}
    }
    if !matches!(trick, Some(Trick::Endless)) {
        headers += &format!("Content-Length: {}\r\n", body.len());
    }
    let status = if from > 0 { 206 } else { 200 };
    write!(
        stream,
        "HTTP/1.1 {status} OK\r\nConnection: close\r\n{headers}\r\n"
    )?;
    match trick {
        Some(Trick::BreakOff(after)) => stream.write_all(&body[..after]),
        Some(Trick::Silent(time)) => {
            let half = if from == 0 { body.len() / 2 } else { 0 };
            stream.write_all(&body[..half])?;
            std::thread::sleep(time);
            Ok(())
        }
        _ => stream.write_all(&body),
    }
}

/// A page of a listing: `models/owner/name/tree/<revision>?recursive=true&from=...`.
fn list(state: &State, address: &str, stream: TcpStream) -> std::io::Result<()> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let Some((repository, revision)) = path.split_once("/tree/") else {
        return answer(stream, 404, "", b"no such page");
    };
    let key = (repository.to_string(), revision.to_string());
    let repositories = state.repositories.lock().unwrap();
    let Some(files) = repositories.get(&key) else {
        let said = "X-Error-Code: RevisionNotFound\r\nX-Error-Message: no such revision\r\n";
        return answer(stream, 404, said, b"{}");
    };
    let entry = |(path, bytes): (&String, &Vec<u8>)| {
        let tag = oid(bytes);
        if bytes.len() > LARGE {
            let size = bytes.len();
            let lfs = serde_json::json!({ "oid": tag, "size": size, "pointerSize": 130 });
            serde_json::json!({ "type": "file", "path": path, "oid": "0".repeat(40), "size": size, "lfs": lfs })
        } else {
            serde_json::json!({ "type": "file", "path": path, "oid": tag, "size": bytes.len() })
        }
    };
    let mut entries: Vec<_> = files.iter().map(entry).collect();
    let folder = serde_json::json!({ "type": "directory", "path": "data", "oid": "0".repeat(40), "size": 0 });
    entries.push(folder);
    let from = query
        .rsplit_once("from=")
        .map_or(0, |(_, from)| from.parse().unwrap());
    let (many, next) = match *state.page.lock().unwrap() {
        Page::Of(many) => (many, (from + many < entries.len()).then_some(from + many)),
        Page::Circle => (1, Some(0)),
        Page::Hostile => {
            entries[0]["path"] = "../../outside".into();
            (usize::MAX, None)
        }
        Page::Huge => {
            entries
                .iter_mut()
                .for_each(|entry| entry["size"] = 1_000_000_000_000_000_000u64.into());
            (usize::MAX, None)
        }
    };
    let page: Vec<_> = entries.into_iter().skip(from).take(many).collect();
    let link = next.map_or(String::new(), |next| {
        format!("Link: </api/{path}?recursive=true&from={next}>; rel=\"next\"\r\n")
    });
    answer(stream, 200, &link, serde_json::to_string(&page)?.as_bytes())
}

fn answer(mut stream: TcpStream, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    stream.write_all(body)
}
