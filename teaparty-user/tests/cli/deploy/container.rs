//! A container of a manifest with its volumes in a folder of this machine, so that the program can be asked about its command line
//! and its configuration.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::rendered::Rendered;

/// The keys of a Secret that is mounted as a whole.
const SECRETS: [&str; 3] = ["api-token", "auth-key", "tlv-key"];

pub(super) struct Container {
    /// The pod's only container.
    pub(super) manifest: Value,
    /// Its pod.
    pub(super) pod: Value,
    /// The text of its configuration.
    pub(super) config: String,
    /// Mount points, with the folders that stand for them, longest first.
    mounts: Vec<(String, PathBuf)>,
    _folder: tempfile::TempDir,
}

impl Container {
    /// Makes the volumes of a workload.
    pub(super) fn new(rendered: &Rendered, workload: &Value) -> Self {
        let pod = workload["spec"]["template"]["spec"].clone();
        let [manifest] = &pod["containers"].as_array().unwrap()[..] else { panic!("one container was expected") };
        let manifest = manifest.clone();
        let folder = tempfile::tempdir().unwrap();
        let mut mounts = Vec::new();
        let mut config = String::new();
        for mount in manifest["volumeMounts"].as_array().unwrap() {
            let name = mount["name"].as_str().unwrap();
            let volumes = pod["volumes"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["name"] == name).expect("a volume that there is");
            let place = folder.path().join(name);
            for (file, content) in files(rendered, volume) {
                write(&place, &file, &content);
                if file.ends_with(".toml") {
                    config = content;
                }
            }
            mounts.push((mount["mountPath"].as_str().unwrap().to_owned(), place));
        }
        mounts.sort_by_key(|(point, _)| std::cmp::Reverse(point.len()));
        Self { manifest, pod, config, mounts, _folder: folder }
    }

    /// Returns the first argument: which part of the program it is.
    pub(super) fn part(&self) -> &str {
        self.manifest["args"][0].as_str().unwrap()
    }

    /// Returns the arguments, with paths of this machine.
    pub(super) fn arguments(&self) -> Vec<String> {
        let arguments = self.manifest["args"].as_array().unwrap();
        arguments.iter().map(|argument| self.here(argument.as_str().unwrap())).collect()
    }

    /// Returns a text with paths of this machine in the place of those inside.
    fn here(&self, text: &str) -> String {
        self.mounts.iter().fold(text.to_owned(), |text, (point, place)| text.replace(point, place.to_str().unwrap()))
    }

    /// Runs the program in the container's environment.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
        for variable in self.manifest["env"].as_array().into_iter().flatten() {
            command.env(variable["name"].as_str().unwrap(), self.here(variable["value"].as_str().unwrap()));
        }
        command.args(arguments).output().unwrap()
    }

    /// Checks the configuration as the program would read it.
    pub(super) fn check(&self) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, self.here(&self.config)).unwrap();
        let file = file.to_str().unwrap();
        match self.part() {
            "reflector" => self.run(&["config", "check", file]),
            _ => self.run(&["probe", "--check", "--config", file]),
        }
    }

    /// Returns the value of a key of the configuration.
    pub(super) fn setting(&self, key: &str) -> Option<toml::Value> {
        self.config.parse::<toml::Table>().unwrap().get(key).cloned()
    }

    /// Returns the number of a named port.
    pub(super) fn port(&self, name: &str) -> Option<u64> {
        let ports = self.manifest["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name)?["containerPort"].as_u64()
    }
}

/// Returns the files of a volume, with their content.
fn files(rendered: &Rendered, volume: &Value) -> Vec<(String, String)> {
    let secret = |name: &str| (name.to_owned(), "0123456789abcdef0123456789abcdef".to_owned());
    if let Some(name) = volume["configMap"]["name"].as_str() {
        let found = rendered.of(&["ConfigMap"]).find(|map| map["metadata"]["name"] == name);
        let Some(found) = found else {
            assert_eq!(volume["configMap"]["optional"], true, "{}: there is no ConfigMap {name}", rendered.name);
            return Vec::new();
        };
        let data = found["data"].as_object().unwrap();
        return data.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect();
    }
    if volume["secret"].is_object() {
        return SECRETS.map(secret).into();
    }
    let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
    let items = sources.flat_map(|source| source["secret"]["items"].as_array().unwrap());
    items.map(|item| secret(item["path"].as_str().unwrap())).collect()
}

/// Writes a file as the kubelet does: readable for its group, behind two symbolic links.
fn write(place: &Path, name: &str, content: &str) {
    let data = place.join("..2026_11_30");
    std::fs::create_dir_all(&data).unwrap();
    let file = data.join(name);
    std::fs::write(&file, content).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o440)).unwrap();
    let link = place.join("..data");
    if !link.is_symlink() {
        symlink("..2026_11_30", &link).unwrap();
    }
    symlink(Path::new("..data").join(name), place.join(name)).unwrap();
}
