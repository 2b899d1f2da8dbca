//! How the hub is reached, from the environment variables that Python's client heeds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;

/// Where the hub is, where its files lie here, and who asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the hub without a slash at its end, `HF_ENDPOINT`.
    pub endpoint: String,
    /// Folder of the cache, `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// Who asks, `HF_TOKEN` or the file that logging in with Python's client leaves.
    pub token: Option<Token>,
    /// Whether no network may be used, `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// How long to try.
    pub patience: Patience,
}

/// A secret that is not shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The secret, for the header that carries it.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Token {
    fn from(secret: &str) -> Token {
        Token(secret.into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// How long to try.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Attempts in a row that bring nothing, after which a request is given up; at least 1.
    pub attempts: u32,
    /// Wait after the first such attempt; it doubles with each, up to `longest`.
    pub first: Duration,
    /// The longest wait of our own choice.
    pub longest: Duration,
    /// The longest wait that the hub may ask for.
    pub asked: Duration,
    /// How long a connection may say nothing.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempts: 6,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            asked: Duration::from_secs(300),
            silence: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// What this process's environment says.
    ///
    /// # Errors
    /// [`Error::Setting`] for an address or a token that cannot be used.
    pub fn of_environment() -> Result<Settings, Error> {
        Settings::read(|name| std::env::var_os(name))
    }

    /// What the environment `variable` says; a variable without text is as good as none.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Error> {
        let path = |name: &str| {
            variable(name)
                .filter(|text| !text.is_empty())
                .map(PathBuf::from)
        };
        let text = |name: &str| path(name).map(|text| text.to_string_lossy().trim().to_string());
        let home = path("HF_HOME").unwrap_or_else(|| {
            let caches = path("XDG_CACHE_HOME")
                .unwrap_or_else(|| path("HOME").unwrap_or_default().join(".cache"));
            caches.join("huggingface")
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Ok(Settings {
            endpoint: usable_endpoint(endpoint.trim_end_matches('/'))?,
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: token(
                text("HF_TOKEN"),
                path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")),
            )?,
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
            }),
            patience: Patience::default(),
        })
    }
}

fn usable_endpoint(text: &str) -> Result<String, Error> {
    let wrong = |reason: &str| {
        let (variable, reason) = ("HF_ENDPOINT", reason.to_string());
        Err(Error::Setting { variable, reason })
    };
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        // A password would be shown with the address.
        Some(rest) if rest.contains('@') => wrong("an address with a password is not used"),
        Some(rest) if !rest.is_empty() && text.parse::<ureq::http::Uri>().is_ok() => {
            Ok(text.to_string())
        }
        _ => wrong(&format!(
            "`{text}` is not an address that begins with https://"
        )),
    }
}

/// The variable goes before the file, as in Python's client.
fn token(variable: Option<String>, file: PathBuf) -> Result<Option<Token>, Error> {
    let (variable, secret) = match variable {
        Some(secret) => ("HF_TOKEN", secret),
        None => match std::fs::read_to_string(&file) {
            Ok(secret) => ("HF_TOKEN_PATH", secret.trim().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(file)(error)),
        },
    };
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "a token holds letters, digits and `_` alone".into();
        return Err(Error::Setting { variable, reason });
    }
    Ok(Some(Token(secret)).filter(|token| !token.0.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_is_read_as_pythons_client_reads_it() {
        let plain = read(&[("HOME", "/nobody")]).unwrap();
        assert_eq!(plain.cache, PathBuf::from("/nobody/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(plain.token.is_none() && !plain.offline);
        let moved = read(&[
            ("HF_HOME", "/nobody/hf"),
            ("HF_ENDPOINT", "http://127.0.0.1:80/"),
            ("HF_HUB_OFFLINE", "Yes"),
            ("HF_TOKEN", " hf_x\n"),
        ])
        .unwrap();
        assert_eq!(moved.cache, PathBuf::from("/nobody/hf/hub"));
        assert_eq!(moved.endpoint, "http://127.0.0.1:80");
        assert!(moved.offline && moved.token.unwrap().secret() == "hf_x");
        let cache = read(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/nobody/hf")]).unwrap();
        assert_eq!(cache.cache, PathBuf::from("/c"));
    }

    #[test]
    fn the_token_of_the_file_is_used_and_never_shown() {
        let file = std::env::temp_dir().join(format!("harness-token-{}", std::process::id()));
        std::fs::write(&file, "hf_secret\n").unwrap();
        let settings = read(&[("HF_TOKEN_PATH", file.to_str().unwrap())]).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(settings.token.as_ref().unwrap().secret(), "hf_secret");
        assert!(!format!("{settings:?}").contains("hf_secret"));
        let error = read(&[("HOME", "/nobody"), ("HF_TOKEN", "hf_se cret")]).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("cret"),
            "nor in an error"
        );
        assert!(read(&[("HF_ENDPOINT", "ftp://x"), ("HOME", "/nobody")]).is_err());
        assert!(read(&[("HF_ENDPOINT", "https://a:b@x"), ("HOME", "/nobody")]).is_err());
    }
}
