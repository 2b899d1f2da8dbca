//! Requests: redirects without leaking the token, and what is tried again.

use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::{HeaderMap, Response, Uri};

use super::Hub;
use super::error::Error;
use super::need::Repository;
use super::settings::{Patience, Settings};

/// Redirects in a row, at most.
const REDIRECTS: usize = 10;
/// Between two looks at whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What a request is for.
pub(super) struct Ask<'a> {
    /// In the user's terms: `model.safetensors of owner/name at ...`.
    pub(super) what: &'a str,
    pub(super) repository: &'a Repository,
    pub(super) stop: &'a dyn Fn() -> bool,
    /// Hears of every wait: why, and how long.
    pub(super) waiting: &'a dyn Fn(&str, Duration),
}

/// An answer that brings content.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
}

/// The rest of a file, from this byte on, if it still is the one with this tag.
pub(super) struct Rest<'a> {
    pub(super) from: u64,
    pub(super) tag: &'a str,
}

/// Why an attempt failed.
pub(super) enum Trouble {
    /// Another attempt may do better.
    Again {
        reason: String,
        /// What the server asks to wait.
        wait: Option<Duration>,
        /// Its status when it asks that, 0 otherwise.
        status: u16,
        /// Whether this attempt brought something that lasts.
        progress: bool,
    },
    /// It will not.
    Final(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Final(error)
    }
}

impl Trouble {
    pub(super) fn again(reason: impl Into<String>) -> Trouble {
        Trouble::Again {
            reason: reason.into(),
            wait: None,
            status: 0,
            progress: false,
        }
    }
}

/// The client for `settings`.
pub(super) fn agent(settings: &Settings) -> ureq::Agent {
    let Patience { silence, .. } = settings.patience;
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Redirects are followed in `get`, where the token is dropped.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("harness/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(silence))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence));
    if is_loopback(&settings.endpoint) {
        // A proxy elsewhere cannot reach this machine's own address.
        config = config.proxy(None);
    }
    config.build().new_agent()
}

impl Hub {
    /// The answer with status 200 or 206 to a request for `url`, at the end of all redirects.
    pub(super) fn get(
        &self,
        ask: &Ask<'_>,
        url: &str,
        rest: Option<&Rest<'_>>,
    ) -> Result<Answer, Trouble> {
        let home = origin(&self.settings.endpoint);
        let mut url = url.to_string();
        for _ in 0..=REDIRECTS {
            let at_home = origin(&url) == home && home.is_some();
            let mut request = self.agent.get(&url);
            if let Some(token) = self.settings.token.as_ref().filter(|_| at_home) {
                request = request.header("Authorization", format!("Bearer {}", token.secret()));
            }
            if let Some(rest) = rest {
                request = request.header("Range", format!("bytes={}-", rest.from));
                // Hosts for large files name the same bytes by tags of their own; there the hash alone decides.
                if at_home {
                    request = request.header("If-Range", format!("\"{}\"", rest.tag));
                }
            }
            let response = request.call().map_err(trouble_of)?;
            let status = response.status().as_u16();
            match status {
                200 | 206 => return Ok(Answer { response }),
                301 | 302 | 303 | 307 | 308 => {
                    let location = header(response.headers(), "location").unwrap_or("");
                    url = resolve(&url, location)
                        .ok_or_else(|| Trouble::again("a redirect leads nowhere"))?;
                }
                _ => return Err(self.refusal(ask, &response, at_home)),
            }
        }
        Err(Trouble::again("redirects lead in a circle"))
    }

    /// What a status that brings no content means.
    fn refusal(&self, ask: &Ask<'_>, response: &Response<Body>, at_home: bool) -> Trouble {
        let status = response.status().as_u16();
        let headers = response.headers();
        let said = header(headers, "x-error-message").unwrap_or("");
        let said: String = said.chars().take(200).collect();
        let what = ask.what.to_string();
        Trouble::Final(match status {
            401 | 403 if at_home => {
                let path = ask.repository.hf().url();
                Error::Refused {
                    repository: ask.repository.clone(),
                    status,
                    page: format!("{}/{path}", self.settings.endpoint),
                    token: self.settings.token.is_some(),
                    said,
                }
            }
            404 | 410 if at_home => Error::NotFound { what, status, said },
            // Elsewhere, a signed address has run out; the hub gives a new one.
            401 | 403 | 404 | 408 | 410 | 416 | 425 | 429 | 500.. => {
                return Trouble::Again {
                    reason: format!("the server answers with status {status}"),
                    wait: header(headers, "retry-after").and_then(retry_after),
                    status,
                    progress: false,
                };
            }
            _ => Error::Status { what, status, said },
        })
    }

    /// Makes attempts until one succeeds, fails for good, or too many in a row bring nothing.
    pub(super) fn persist<T>(
        &self,
        ask: &Ask<'_>,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, Error> {
        let patience = &self.settings.patience;
        let mut vain = 0;
        loop {
            if (ask.stop)() {
                return Err(Error::Stopped);
            }
            let what = ask.what.to_string();
            let (reason, asked, status) = match attempt() {
                Ok(done) => return Ok(done),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Again {
                    reason,
                    wait,
                    status,
                    progress,
                }) => {
                    vain = if progress { 1 } else { vain + 1 };
                    (reason, wait, status)
                }
            };
            if vain >= patience.attempts {
                return Err(Error::Attempts {
                    what,
                    reason,
                    attempts: vain,
                });
            }
            if let Some(wait) = asked.filter(|wait| *wait > patience.asked) {
                return Err(Error::Later { what, status, wait });
            }
            let doubled = patience.first * 2u32.saturating_pow(vain - 1).min(1 << 10);
            let wait = asked.unwrap_or(doubled.min(patience.longest));
            (ask.waiting)(&reason, wait);
            let until = Instant::now() + wait;
            while Instant::now() < until && !(ask.stop)() {
                std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
            }
        }
    }
}

/// A header as text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// What an error of the transport means. Its text may hold an address with a signature, so it is not shown.
pub(super) fn trouble_of(error: ureq::Error) -> Trouble {
    let reason = match error {
        ureq::Error::HostNotFound => "the host is not found".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Timeout(_) => "the server is silent for too long".into(),
        ureq::Error::Io(error) => format!("the connection fails ({})", error.kind()),
        ureq::Error::Protocol(_) => "the answer is not HTTP".into(),
        ureq::Error::Rustls(error) => format!("no secure connection ({error})"),
        ureq::Error::Tls(reason) => format!("no secure connection ({reason})"),
        ureq::Error::InvalidProxyUrl | ureq::Error::ConnectProxyFailed(_) => {
            "the proxy (HTTPS_PROXY) does not connect".into()
        }
        _ => "the request fails".to_string(),
    };
    Trouble::again(reason)
}

/// `Retry-After` in seconds; a date is not heeded.
fn retry_after(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_secs)
}

/// The address of the page after this one, as the `Link` header says.
pub(super) fn next_page(url: &str, answer: &Answer) -> Option<String> {
    let links = header(answer.response.headers(), "link")?;
    let next = links
        .split(',')
        .find(|link| link.contains("rel=\"next\""))?
        .trim();
    resolve(url, next.strip_prefix('<')?.split_once('>')?.0)
}

/// Scheme, host and port of an address: to whom a token for it goes.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_lowercase();
    let port = if scheme == "https" { 443 } else { 80 };
    let host = uri.host()?.to_lowercase();
    Some((scheme, host, uri.port_u16().unwrap_or(port)))
}

fn is_loopback(url: &str) -> bool {
    origin(url).is_some_and(|(_, host, _)| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// The address that `location` means on the page `base`.
fn resolve(base: &str, location: &str) -> Option<String> {
    let (scheme, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let url = if location.starts_with("https://") || location.starts_with("http://") {
        location.to_string()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        return None;
    };
    origin(&url).map(|_| url)
}

/// A path with every byte that means something else in an address written as `%XX`.
pub(super) fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_relative_to_its_page_and_a_token_belongs_to_scheme_host_and_port() {
        let resolved = |to| resolve("https://hub.example/a/b?c", to);
        assert_eq!(resolved("/x").unwrap(), "https://hub.example/x");
        assert_eq!(
            resolved("//cdn.example/x").unwrap(),
            "https://cdn.example/x"
        );
        assert_eq!(
            resolved("http://hub.example/").unwrap(),
            "http://hub.example/"
        );
        assert!(resolved("").is_none() && resolved("ftp://x/").is_none());
        let home = origin("https://Hub.example");
        assert_eq!(home, origin("https://hub.example:443/x"));
        for other in [
            "http://hub.example",
            "https://hub.example:444",
            "https://hub.example.evil",
        ] {
            assert_ne!(home, origin(other), "{other}");
        }
        assert_eq!(encoded("a b/ü#?.txt"), "a%20b/%C3%BC%23%3F.txt");
        assert!(is_loopback("http://127.0.0.1:8000") && is_loopback("http://[::1]:80/x"));
        assert!(!is_loopback("https://hub.example"));
    }
}
