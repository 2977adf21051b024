//! Renders what is in `deploy`, by kubectl's kustomize and by helm, and has every document judged by Kubernetes's schemas.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The versions of Kubernetes: the oldest that the chart allows, one between, and the latest that the schemas have.
const VERSIONS: [&str; 3] = ["1.30", "1.34", "1.37"];

/// Values of the chart, each with the options of helm that set them.
const CHARTS: [(&str, &[&str]); 7] = [
    ("default", &[]),
    ("sockets", &["--set=reflector.xdp=false"]),
    ("authenticated", &["--set=keys.existingSecret=our-keys,keys.authKey=base,keys.tlvKey=tlv"]),
    ("monitored", &["--set=metrics.enabled=true,metrics.rules.labels.release=prometheus"]),
    ("reflectors only", &["--set=probe.enabled=false,metrics.enabled=true,metrics.serviceMonitor.enabled=false"]),
    (
        "probes only",
        &["--set=reflector.enabled=false,probe.replicas=2,metrics.enabled=true,metrics.rules.enabled=false"],
    ),
    (
        "everything",
        &[
            "--set=image.repository=images.example/net/teaparty,imagePullSecrets[0].name=pull",
            "--set=reflector.stampPort=8862,reflector.apiPort=8001,reflector.priorityClassName=system-node-critical",
            "--set=reflector.seccompProfile.type=Localhost,reflector.seccompProfile.localhostProfile=teaparty.json",
            "--set=reflector.nodeSelector.zone=a,reflector.podAnnotations.team=network",
            "--set=probe.kind=DaemonSet,probe.apiPort=9863,probe.tolerations[0].operator=Exists",
            "--set=keys.existingSecret=our-keys,keys.tlvKey=tlv,metrics.enabled=true,metrics.listen=[::]",
        ],
    ),
];

/// The documents of one rendering.
pub(super) struct Rendered {
    pub(super) name: String,
    pub(super) documents: Vec<Value>,
}

impl Rendered {
    /// Returns the documents of these kinds.
    pub(super) fn of(&self, kinds: &'static [&str]) -> impl Iterator<Item = &Value> {
        self.documents.iter().filter(|document| kinds.contains(&document["kind"].as_str().unwrap()))
    }

    /// Returns the DaemonSets and Deployments.
    pub(super) fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of(&["DaemonSet", "Deployment"])
    }
}

/// Programs that do not belong to this repository.
struct Tools {
    python: PathBuf,
    helm: PathBuf,
    kubectl: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, String> {
        let find = |variable: &str| {
            let found = std::env::var_os(variable).map(PathBuf::from);
            found.ok_or(format!("{variable} is not set; `cargo xtask test` sets it"))
        };
        Ok(Self {
            python: find("TEAPARTY_KUBERNETES_PYTHON")?,
            helm: find("TEAPARTY_HELM")?,
            kubectl: find("TEAPARTY_KUBECTL")?,
        })
    }
}

/// Returns the path of a part of `deploy`.
pub(super) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Returns all renderings, made once; an error if a tool is absent.
///
/// Panics if something can't be rendered, or a document is not as the schemas have it.
pub(super) fn all() -> Result<&'static [Rendered], String> {
    static ALL: OnceLock<Vec<Rendered>> = OnceLock::new();
    let tools = Tools::find()?;
    Ok(ALL.get_or_init(|| render(&tools)))
}

fn render(tools: &Tools) -> Vec<Rendered> {
    let mut folders = vec!["kubernetes/base".to_owned()];
    for overlay in std::fs::read_dir(deploy("kubernetes/overlays")).unwrap() {
        folders.push(format!("kubernetes/overlays/{}", overlay.unwrap().file_name().into_string().unwrap()));
    }
    let mut all = Vec::new();
    for folder in folders {
        let documents = run(Command::new(&tools.kubectl).arg("kustomize").arg(deploy(&folder)));
        all.push(Rendered { documents: accepted(tools, &folder, &documents), name: folder });
    }
    for (name, values) in CHARTS {
        let name = format!("chart, {name}");
        run(helm(tools, &["lint", "--strict"]).args(values).arg(deploy("helm/teaparty")));
        let rendered =
            run(helm(tools, &["template", "site", "--namespace=teaparty"]).args(values).arg(deploy("helm/teaparty")));
        all.push(Rendered { documents: accepted(tools, &name, &rendered), name });
    }
    all
}

fn helm(tools: &Tools, arguments: &[&str]) -> Command {
    let mut command = Command::new(&tools.helm);
    // Neither plugins nor settings of whoever runs the test.
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, "/nonexistent");
    }
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns the documents, which the schemas accept.
fn accepted(tools: &Tools, name: &str, documents: &[u8]) -> Vec<Value> {
    let output = judge(tools, documents);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(documents.len() > 2, "{name} has next to nothing");
    documents
}

/// Returns the judgement of a document that is wrong.
///
/// Panics if it is accepted.
pub(super) fn refused(document: &str) -> Result<String, String> {
    let output = judge(&Tools::find()?, document.as_bytes());
    assert!(!output.status.success(), "accepted: {document}");
    Ok(String::from_utf8(output.stderr).unwrap())
}

fn judge(tools: &Tools, documents: &[u8]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness/kubernetes.py");
    let mut command = Command::new(&tools.python);
    command.arg(script).args(VERSIONS).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It reads everything before it writes.
    child.stdin.take().unwrap().write_all(documents).unwrap();
    child.wait_with_output().unwrap()
}
