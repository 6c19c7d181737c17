//! What is set by the standard variables of OpenTelemetry.

use std::{path::PathBuf, time::Duration};

use opentelemetry_sdk::trace::Sampler;
use url::Url;

/// The variables that are looked for in the environment, here or by the libraries below.
pub const VARIABLES: &[&str] = &[
    TRACES_ENDPOINT,
    ENDPOINT,
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
    TRACES_TIMEOUT,
    TIMEOUT,
    TRACES_CERTIFICATE,
    CERTIFICATE,
    TRACES_PROTOCOL,
    PROTOCOL,
    SAMPLER,
    SAMPLER_ARG,
    EXPORTER,
    DISABLED,
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
];

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const TRACES_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// Where traces are taken, below the address that all signals share.
const PATH: &str = "v1/traces";
/// How long a collector may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where spans are sent, and which.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the collector takes traces.
    pub(crate) endpoint: Url,
    pub(crate) sampler: Sampler,
    pub(crate) timeout: Duration,
    /// Whom to believe instead of the public certificate authorities.
    pub(crate) authorities: Option<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{variable}` {problem}")]
pub struct BadSetting {
    /// Where it stands.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

fn bad(variable: &'static str, problem: impl Into<String>) -> BadSetting {
    BadSetting {
        variable,
        problem: problem.into(),
    }
}

impl Settings {
    /// Reads the variables, as `variable` has them; none when no collector is named, or traces are turned off.
    ///
    /// `endpoint`, where it is given, is the full address at which traces are taken, and goes before the variables.
    pub fn read(
        endpoint: Option<&str>,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, BadSetting> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let of_traces = |name, general| match variable(name) {
            Some(value) => Some((name, value)),
            None => variable(general).map(|value| (general, value)),
        };
        let is_off = variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match variable(EXPORTER).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => return Err(bad(EXPORTER, "must be `otlp` or `none`")),
        }
        let endpoint = match endpoint.map(str::to_owned) {
            Some(given) => Some(url(TRACES_ENDPOINT, &given)?),
            None => match variable(TRACES_ENDPOINT) {
                Some(given) => Some(url(TRACES_ENDPOINT, &given)?),
                None => variable(ENDPOINT).map(|given| shared(&given)).transpose()?,
            },
        };
        let Some(endpoint) = endpoint.filter(|_| !is_off) else {
            return Ok(None);
        };
        if let Some((name, protocol)) = of_traces(TRACES_PROTOCOL, PROTOCOL)
            && protocol != "http/protobuf"
        {
            return Err(bad(
                name,
                "must be `http/protobuf`: this program speaks no other protocol (port 4318 of most collectors)",
            ));
        }
        let timeout = match of_traces(TRACES_TIMEOUT, TIMEOUT) {
            None => PATIENCE,
            Some((name, text)) => match text.parse() {
                Ok(milliseconds @ 1..=600_000) => Duration::from_millis(milliseconds),
                _ => return Err(bad(name, "must be milliseconds, from 1 to 600000")),
            },
        };
        Ok(Some(Self {
            endpoint,
            sampler: sampler(
                variable(SAMPLER).as_deref(),
                variable(SAMPLER_ARG).as_deref(),
            )?,
            timeout,
            authorities: of_traces(TRACES_CERTIFICATE, CERTIFICATE).map(|(_, path)| path.into()),
        }))
    }

    /// Where spans are sent.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }
}

/// An address of a collector. What was written is not shown: it may hold a secret.
fn url(variable: &'static str, text: &str) -> Result<Url, BadSetting> {
    let example = "must be an http or https URL, such as `http://127.0.0.1:4318/v1/traces`";
    let url = Url::parse(text.trim()).map_err(|_| bad(variable, example))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(bad(variable, example));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "must hold no user and password: what the collector wants to know goes into `OTEL_EXPORTER_OTLP_HEADERS`";
        return Err(bad(variable, problem));
    }
    Ok(url)
}

/// The address for traces below the one that all signals share.
fn shared(text: &str) -> Result<Url, BadSetting> {
    let mut url = url(ENDPOINT, text)?;
    let path = format!("{}/{PATH}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, BadSetting> {
    let ratio = || match argument.map(str::parse::<f64>) {
        None => Ok(1.0),
        Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        Some(_) => Err(bad(SAMPLER_ARG, "must be a number from 0 to 1")),
    };
    let below_parents = |root| Sampler::ParentBased(Box::new(root));
    Ok(match name.unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio()?),
        "parentbased_always_on" => below_parents(Sampler::AlwaysOn),
        "parentbased_always_off" => below_parents(Sampler::AlwaysOff),
        "parentbased_traceidratio" => below_parents(Sampler::TraceIdRatioBased(ratio()?)),
        _ => {
            return Err(bad(
                SAMPLER,
                "must be one of `always_on`, `always_off`, `traceidratio`, `parentbased_always_on`, `parentbased_always_off`, `parentbased_traceidratio`",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, BadSetting> {
        Settings::read(None, |name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn endpoint(variables: &[(&str, &str)]) -> Option<String> {
        read(variables)
            .unwrap()
            .map(|settings| settings.endpoint().to_owned())
    }

    #[test]
    fn the_address_for_traces_goes_before_the_shared_one() {
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[(ENDPOINT, " ")]), None);
        let shared = (ENDPOINT, "http://collector:4318");
        assert_eq!(
            endpoint(&[shared]).unwrap(),
            "http://collector:4318/v1/traces"
        );
        assert_eq!(
            endpoint(&[(ENDPOINT, "https://c/otlp/")]).unwrap(),
            "https://c/otlp/v1/traces"
        );
        let own = (TRACES_ENDPOINT, "http://other:4318/here");
        assert_eq!(endpoint(&[shared, own]).unwrap(), "http://other:4318/here");
        for off in [(EXPORTER, "none"), (DISABLED, "TRUE")] {
            assert_eq!(endpoint(&[shared, off]), None, "{off:?}");
        }
        let flag = Settings::read(Some("http://flag:1/t"), |_| None).unwrap();
        assert_eq!(flag.unwrap().endpoint(), "http://flag:1/t");
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_not_shown() {
        let on = (ENDPOINT, "http://collector:4318");
        for (name, value) in [
            (ENDPOINT, "collector:4318"),
            (ENDPOINT, "https://me:hunter2@collector"),
            (TRACES_ENDPOINT, "grpc://hunter2"),
            (PROTOCOL, "grpc"),
            (TRACES_TIMEOUT, "10s"),
            (TIMEOUT, "0"),
            (SAMPLER, "sometimes"),
            (EXPORTER, "zipkin"),
        ] {
            let bad = read(&[(name, value), on]).unwrap_err();
            assert_eq!(bad.variable, name, "{value}");
            assert!(!bad.to_string().contains("hunter2"), "{bad}");
        }
        for argument in ["1.1", "-0.1", "NaN", "half"] {
            let set = [(SAMPLER, "traceidratio"), (SAMPLER_ARG, argument), on];
            assert_eq!(read(&set).unwrap_err().variable, SAMPLER_ARG, "{argument}");
        }
    }
}
