//! Finding a setting, reading it, and collecting what is wrong.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use gatewright_policy::document::Period;
use gatewright_schemas::Zone;

use super::{
    LogFormat,
    file::{self, File, Place},
};

/// How a setting is spelt.
#[derive(Debug)]
pub(super) struct Setting {
    /// In the file.
    pub(super) key: &'static str,
    /// On the command line.
    pub(super) flag: &'static str,
    /// In the environment.
    pub(super) env: &'static str,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadSettings(pub Vec<String>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} settings are not usable:", many.len())?;
                many.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

/// Reads settings and keeps what is wrong with them.
pub(super) struct Reader {
    file: File,
    faults: Vec<String>,
}

impl Reader {
    /// With the file that the flag names, else the environment.
    pub(super) fn open(flag: Option<&str>) -> Self {
        let named = flag
            .map(|path| ("`--config`", path.to_owned()))
            .or_else(|| {
                Some((
                    "the environment's GATEWRIGHT_CONFIG",
                    from_env("GATEWRIGHT_CONFIG")?,
                ))
            });
        let Some((origin, path)) = named else {
            return Self {
                file: File::default(),
                faults: Vec::new(),
            };
        };
        let (file, faults) = file::read(&path, origin, super::setting::KEYS);
        Self { file, faults }
    }

    /// The file, where one was named and could be read.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.path()
    }

    /// The setting, where it stands somewhere and can be read.
    pub(super) fn parsed<T>(
        &mut self,
        setting: &Setting,
        flag: Option<&String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, origin) = self.find(setting, flag)?;
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.faults.push(format!("{origin}: {reason}"));
                None
            }
        }
    }

    fn find(&self, setting: &Setting, flag: Option<&String>) -> Option<(String, String)> {
        if let Some(text) = flag {
            return Some((text.clone(), format!("`{}`", setting.flag)));
        }
        if let Some(text) = from_env(setting.env) {
            return Some((text, format!("the environment's {}", setting.env)));
        }
        let (text, Place { path, line, column }) = self.file.get(setting.key)?;
        Some((text, format!("{path}:{line}:{column}: `{}`", setting.key)))
    }

    /// Something that is wrong with settings that can be read.
    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn finish(self) -> Result<(), BadSettings> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(BadSettings(self.faults))
        }
    }
}

/// A variable of the environment; an empty one counts as not set.
fn from_env(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.trim().is_empty())
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("`{}` is none of text, json", shown(other))),
    }
}

/// Addresses of NATS servers. What is wrong is told without repeating what may be a password.
pub(super) fn nats_url(text: &str) -> Result<String, String> {
    for server in text.split(',').map(str::trim) {
        let (scheme, rest) = server.split_once("://").unwrap_or(("nats", server));
        if !["nats", "tls", "ws", "wss"].contains(&scheme) {
            return Err(format!(
                "the scheme `{}` is none of nats, tls, ws, wss",
                shown(scheme)
            ));
        }
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.trim_end_matches('/');
        // `[::1]:4222` has its port behind the bracket.
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        if name.is_empty() {
            return Err("a server has no host; write nats://host:4222".into());
        }
        if let Some(port) = port
            && port.parse::<u16>().map_or(true, |port| port == 0)
        {
            return Err(format!("`{}` is no port", shown(port)));
        }
    }
    Ok(text.to_owned())
}

/// A database's address, which may hold a password and is therefore never repeated.
pub(super) fn database_url(text: &str) -> Result<String, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        Ok(text.to_owned())
    } else {
        Err("must look like postgres://user:password@host:5432/database".into())
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("there is no file `{}`", shown(text)))
    }
}

/// A path that means the same wherever the program is started; what is there, whoever uses it looks.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("`{}` does not begin with `/`", shown(text)))
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{}` is no address with a port, such as 127.0.0.1:9464 or [::]:9464",
            shown(text)
        )
    })
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        other => Err(format!("`{}` is none of true, false", shown(other))),
    }
}

pub(super) fn number_within<T>(text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            format!(
                "`{}` is no number from {} to {}",
                shown(text),
                range.start(),
                range.end()
            )
        })
}

pub(super) fn zones(text: &str) -> Result<Vec<Zone>, String> {
    let mut zones = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let zone: Zone = word.parse().map_err(|error| format!("{error}"))?;
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    if zones.is_empty() {
        return Err("names no zone".into());
    }
    Ok(zones)
}

pub(super) fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>()
        .map(Period::duration)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_passwords_not_repeated() {
        for good in [
            "nats://127.0.0.1:4222",
            "a:4222, tls://u:p@b:4223/",
            "localhost",
            "nats://[::1]:4222",
            "nats://[::1]",
        ] {
            assert!(nats_url(good).is_ok(), "{good}");
        }
        for bad in ["", "http://a", "nats://", "nats://u:secret@h:port", "a:0"] {
            let told = nats_url(bad).unwrap_err();
            assert!(!told.contains("secret"), "{told}");
        }
        assert!(
            !database_url("mysql://u:secret@h/d")
                .unwrap_err()
                .contains("secret")
        );
    }

    #[test]
    fn zones_and_periods_are_words() {
        assert_eq!(
            zones("sandbox, high_stakes,sandbox").unwrap(),
            [Zone::Sandbox, Zone::HighStakes]
        );
        assert!(zones("moon").unwrap_err().contains("moon"));
        assert_eq!(period("90s").unwrap(), Duration::from_secs(90));
    }
}
