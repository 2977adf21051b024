//! `teaparty doctor`: what this host has and lacks for a reflector. Looks at much and changes nothing.
//!
//! `host` is about the system, `interface` about each interface; what they find are [`DoctorFinding`]s, judged by plain
//! functions of what was measured.

mod host;
mod interface;

use std::fmt;

use serde::Serialize;

use crate::layout::count as plural;
use crate::net::interface::{Interface, InterfaceError, all_up};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DoctorVerdict {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Works, but not as well as it could.
    Warning,
    /// The XDP program will not answer.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DoctorFinding {
    /// The subject.
    pub check: &'static str,
    /// The interface, where it is about one.
    pub interface: Option<String>,
    /// The severity.
    pub verdict: DoctorVerdict,
    /// The finding.
    pub found: String,
    /// The remedy, where there is something to do.
    pub remedy: Option<String>,
}

impl DoctorFinding {
    fn new(check: &'static str, verdict: DoctorVerdict, found: impl Into<String>) -> Self {
        Self { check, interface: None, verdict, found: found.into(), remedy: None }
    }

    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, DoctorVerdict::Good, found)
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorReport {
    /// Of this program.
    pub version: &'static str,
    /// The worst of all verdicts.
    pub verdict: DoctorVerdict,
    /// In the order in which a person would look.
    pub findings: Vec<DoctorFinding>,
}

impl DoctorReport {
    /// Looks at the host and at these interfaces; where none is named, at all that are up and have an address.
    ///
    /// Fails only if the interfaces can't be listed: one that is named and not there is a finding.
    pub(crate) fn new(names: &[String]) -> Result<Self, InterfaceError> {
        let names = if names.is_empty() { all_up()? } else { names.to_vec() };
        let mut findings = host::inspect(names.len());
        for name in names {
            let of_one = match Interface::find(&name) {
                Ok(found) => interface::inspect(&found),
                Err(error) => vec![
                    DoctorFinding::new("presence", DoctorVerdict::Failure, error.to_string())
                        .remedy("name one that is there; a reflector answers on it as soon as it comes"),
                ],
            };
            findings.extend(of_one.into_iter().map(|one| DoctorFinding { interface: Some(name.clone()), ..one }));
        }
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(DoctorVerdict::Good);
        Ok(Self { version: env!("CARGO_PKG_VERSION"), verdict, findings })
    }
}

impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut about = None;
        for finding in &self.findings {
            if about != Some(&finding.interface) {
                writeln!(f, "{}", finding.interface.as_deref().unwrap_or("this host"))?;
                about = Some(&finding.interface);
            }
            let mark = match finding.verdict {
                DoctorVerdict::Good => "good",
                DoctorVerdict::Note => "note",
                DoctorVerdict::Warning => "WARN",
                DoctorVerdict::Failure => "FAIL",
            };
            writeln!(f, "  {mark}  {:<12} {}", finding.check, finding.found)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(f, "        {:<12} {remedy}", "->")?;
            }
        }
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (failures, warnings) = (count(DoctorVerdict::Failure), count(DoctorVerdict::Warning));
        let (warnings, failures) = (plural(warnings as u64, "warning"), plural(failures as u64, "failure"));
        write!(f, "{} looked at, {warnings}, {failures}", self.findings.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_bad_as_its_worst_finding_and_names_remedies() {
        let report = DoctorReport::new(&["lo".into(), "nosuch0".into()]).unwrap();
        assert_eq!(report.verdict, DoctorVerdict::Failure);
        let text = report.to_string();
        for words in ["this host\n", "\nlo\n", "\nnosuch0\n  FAIL  presence     there is no interface nosuch0"] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        for finding in &report.findings {
            let needs_remedy = finding.verdict > DoctorVerdict::Note;
            assert!(!needs_remedy || finding.remedy.is_some(), "{finding:?} says not what to do");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["verdict"], "failure");
        assert_eq!(json["findings"][0]["check"], "kernel");
    }
}
