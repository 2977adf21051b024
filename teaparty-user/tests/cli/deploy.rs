//! The manifests for Kubernetes: documents that three versions of it accept, options, paths, ports and settings that the program
//! has, and no more privileges than it keeps. Nothing here asks a cluster.

mod container;
mod rendered;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::thread::CapabilitySet;
use serde_json::{Value, json};
use teaparty_testing::skip::or_skip;
use teaparty_user::reflector::config::{ReflectorConfig, ReflectorSettings, XdpMode};

use self::container::Container;
use self::rendered::{Rendered, all, deploy, refused};

/// Calls `check` with each container of each rendering.
fn for_each_container(check: impl Fn(&str, &Container)) {
    let Some(all) = or_skip(all()) else { return };
    for rendered in all {
        for workload in rendered.workloads() {
            let container = Container::new(rendered, workload);
            check(&format!("{}: {}", rendered.name, workload["metadata"]["name"]), &container);
        }
    }
}

#[test]
fn base_overlays_and_chart_are_accepted_by_three_versions() {
    let Some(all) = or_skip(all()) else { return };
    let workloads: usize = all.iter().map(|rendered| rendered.workloads().count()).sum();
    assert!(all.len() == 12 && workloads == 22, "{} with {workloads} workloads", all.len());
}

#[test]
fn a_document_with_a_mistake_is_refused() {
    let service_monitor = "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: x}\n";
    for (document, expected) in [
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterip: None}\n".to_owned(),
            "Service x, 1.30: Additional properties are not allowed ('clusterip' was unexpected)",
        ),
        ("apiVersion: v1\nkind: Servic\nmetadata: {name: x}\n".to_owned(), "Servic x, 1.37: SchemaNotFoundError"),
        ("kind: Service\nkind: Service\n".to_owned(), "twice: kind"),
        (
            format!("{service_monitor}spec: {{endpoints: [{{prt: x}}]}}\n"),
            "spec.endpoints[0].prt: there is no such field",
        ),
        (
            format!("{service_monitor}spec: {{endpoints: [{{port: 1}}]}}\n"),
            "spec.endpoints[0].port: is of another type",
        ),
    ] {
        let Some(said) = or_skip(refused(&document)) else { return };
        assert!(said.contains(expected), "{document}: {said}");
    }
}

#[test]
fn the_program_knows_every_argument() {
    for_each_container(|name, container| {
        let arguments = container.arguments();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // clap reads from the left and reports an error before it shows the help.
        arguments.push("--help");
        let output = container.run(&arguments);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        arguments.insert(1, "--no-such-option");
        assert_eq!(container.run(&arguments).status.code(), Some(2), "{name}");
        let config = arguments.iter().find_map(|argument| argument.strip_prefix("--config=")).unwrap();
        assert!(std::fs::read_to_string(config).is_ok_and(|text| text == container.config), "{name}: {config}");
    });
}

#[test]
fn the_program_takes_every_configuration_with_the_secrets_that_are_mounted() {
    for_each_container(|name, container| {
        let output = container.check();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn a_configuration_without_its_secrets_is_not_taken() {
    let Some(all) = or_skip(all()) else { return };
    let named = |name: &str| all.iter().find(|rendered| rendered.name.ends_with(name)).unwrap();
    for rendered in [named("authenticated"), named("monitoring"), named("everything")] {
        for workload in rendered.workloads() {
            let mut workload = workload.clone();
            let mounts = workload.pointer_mut("/spec/template/spec/containers/0/volumeMounts").unwrap();
            mounts.as_array_mut().unwrap().retain(|mount| mount["name"] != "keys");
            assert_eq!(Container::new(rendered, &workload).check().status.code(), Some(2), "{}", rendered.name);
        }
    }
}

/// Returns true if a reflector's container turns XDP off.
fn is_without_xdp(container: &Container) -> bool {
    container.setting("xdp-mode").is_some_and(|mode| mode.as_str() == Some("off"))
        || container.arguments().iter().any(|argument| argument == "--xdp-mode=off")
}

/// Returns the names of the capabilities that a reflector keeps.
fn kept_capabilities(is_without_xdp: bool) -> Vec<String> {
    let xdp_mode = if is_without_xdp { XdpMode::Off } else { XdpMode::Auto };
    let settings = ReflectorSettings { iface: vec!["lo".into()], xdp_mode, ..Default::default() };
    let mut needed = ReflectorConfig::try_from(settings).unwrap().needed_capabilities();
    if is_without_xdp {
        // Only for socket queues above net.core.rmem_max: too little to own the node's network for.
        needed -= CapabilitySet::NET_ADMIN;
    }
    let mut names: Vec<String> = needed.iter_names().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn containers_have_the_capabilities_that_the_program_keeps_and_no_other_rights() {
    for_each_container(|name, container| {
        let context = &container.manifest["securityContext"];
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
        let added = context["capabilities"]["add"].as_array().into_iter().flatten();
        let mut added: Vec<&str> = added.map(|name| name.as_str().unwrap()).collect();
        added.sort_unstable();
        let pod = &container.pod["securityContext"];
        if container.part() == "reflector" {
            let is_without_xdp = is_without_xdp(container);
            assert_eq!(added, kept_capabilities(is_without_xdp), "{name}");
            let mut mounts = container.manifest["volumeMounts"].as_array().unwrap().iter();
            assert_ne!(mounts.any(|mount| mount["mountPath"] == "/sys/fs/bpf"), is_without_xdp, "{name}");
            assert_eq!(container.setting("keep"), Some(true.into()), "{name}");
        } else {
            assert!(added.is_empty(), "{name}: {added:?}");
            assert!(pod["runAsNonRoot"] == true && pod["runAsUser"] == pod["fsGroup"], "{name}: {pod}");
        }
        assert!(context["allowPrivilegeEscalation"] == false && context["privileged"] == false, "{name}: {context}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert!(pod["seccompProfile"]["type"].as_str().is_some_and(|kind| kind != "Unconfined"), "{name}: {pod}");
        assert_eq!(container.pod["hostNetwork"], true, "{name}");
        assert_eq!(container.pod["automountServiceAccountToken"], false, "{name}");
    });
}

#[test]
fn the_kubelet_asks_at_paths_and_ports_that_the_program_has() {
    let reference = deploy("../docs/reference/rest.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    for_each_container(|name, container| {
        let port = format!("{}-api", container.part());
        let api = container.setting("api").unwrap();
        let (host, number) = api.as_str().unwrap().rsplit_once(':').unwrap();
        assert_eq!(container.port(&port), number.parse().ok(), "{name}: {api}");
        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let asked = &container.manifest[probe]["httpGet"];
            assert_eq!(*asked, json!({"host": "127.0.0.1", "port": port, "path": path}), "{name}: {probe}");
            assert!(reference.contains(&format!("### `GET {path}`")), "{path}");
        }
        assert!(
            ["127.0.0.1", "0.0.0.0", "[::]"].contains(&host),
            "{name}: {api} is not on loopback, where the kubelet asks"
        );
        if container.part() == "reflector" {
            let port = container.setting("port").map_or(862, |port| port.as_integer().unwrap());
            assert_eq!(container.port("stamp"), u64::try_from(port).ok(), "{name}");
        }
    });
}

#[test]
fn there_is_one_image_with_the_programs_version() {
    let version = env!("CARGO_PKG_VERSION");
    for_each_container(|name, container| {
        let image = container.manifest["image"].as_str().unwrap();
        let repository = if name.contains("everything") { "images.example/net/teaparty" } else { "teaparty" };
        assert_eq!(image, format!("{repository}:{version}"), "{name}");
    });
}

/// Returns true if everything that a selector asks for is among these labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}

/// Returns the only document of a kind that `is_it`.
fn only<'a>(rendered: &'a Rendered, kinds: &'static [&str], is_it: impl Fn(&Value) -> bool) -> &'a Value {
    let found: Vec<&Value> = rendered.of(kinds).filter(|document| is_it(document)).collect();
    assert_eq!(found.len(), 1, "{}: {kinds:?}", rendered.name);
    found[0]
}

#[test]
fn prometheus_finds_the_pods_under_the_jobs_that_the_rules_name() {
    let Some(all) = or_skip(all()) else { return };
    let mut jobs = Vec::new();
    for rendered in all {
        for workload in rendered.workloads() {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            assert!(selects(&workload["spec"]["selector"]["matchLabels"], labels), "{}", rendered.name);
        }
        for monitor in rendered.of(&["ServiceMonitor"]) {
            let service = only(rendered, &["Service"], |service| {
                selects(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"])
            });
            let workload = only(rendered, &["DaemonSet", "Deployment"], |workload| {
                selects(&service["spec"]["selector"], &workload["spec"]["template"]["metadata"]["labels"])
            });
            let endpoint = &monitor["spec"]["endpoints"][0];
            let ports = service["spec"]["ports"].as_array().unwrap();
            let port = ports.iter().find(|port| port["name"] == endpoint["port"]).unwrap();
            let container = Container::new(rendered, workload);
            let number = container.port(port["targetPort"].as_str().unwrap());
            assert!(number.is_some() && number == port["port"].as_u64(), "{}: {port}", rendered.name);
            assert_eq!(endpoint["path"], "/metrics");
            assert!(container.setting("api-token-file").is_some(), "{}", rendered.name);
            jobs.push(endpoint["relabelings"][0]["replacement"].as_str().unwrap().to_owned());
        }
    }
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs, ["teaparty", "teaparty-probe"]);
    for job in jobs {
        assert!(rules(&job).contains(&format!("up{{job=\"{job}\"}}")), "{job}");
    }
}

/// Returns the rules that are shipped beside Kubernetes's.
fn rules(name: &str) -> String {
    std::fs::read_to_string(deploy(&format!("../dist/prometheus/{name}.rules.yml"))).unwrap()
}

#[test]
fn rules_are_those_that_are_shipped() {
    let expected = ["teaparty", "teaparty-probe"].map(|name| {
        let rules = rules(name);
        let copy = std::fs::read_to_string(deploy(&format!("helm/teaparty/files/{name}.rules.yml"))).unwrap();
        assert!(copy == rules, "the chart has other rules of {name}: run `cargo xtask codegen`");
        rules.lines().filter(|line| !line.starts_with('#')).map(|line| format!("  {line}\n")).collect::<String>()
    });
    let resources = std::fs::read_to_string(deploy("kubernetes/overlays/monitoring/rules.yaml")).unwrap();
    let found: Vec<&str> = resources.split("---\n").map(|text| text.split_once("spec:\n").unwrap().1).collect();
    assert!(found == expected, "kustomize has other rules: run `cargo xtask codegen`");
    let Some(all) = or_skip(all()) else { return };
    let specs = |name: &str| -> Vec<&Value> {
        let rendered = all.iter().find(|rendered| rendered.name == name).unwrap();
        let mut specs: Vec<&Value> = rendered.of(&["PrometheusRule"]).map(|rule| &rule["spec"]).collect();
        specs.sort_by_key(|spec| spec["groups"][0]["name"].to_string());
        specs
    };
    assert_eq!(specs("chart, monitored"), specs("kubernetes/overlays/monitoring"));
    assert!(specs("chart, monitored").len() == 2 && specs("chart, default").is_empty());
}

#[test]
fn pods_become_targets_that_the_probe_takes() {
    let pod = |address: Value, port: u16| {
        let ports = json!([{"name": "reflector-api", "containerPort": 8000}, {"name": "stamp", "containerPort": port}]);
        json!({
            "metadata": {"name": "x"},
            "spec": {"nodeName": "north", "containers": [{"ports": ports}]},
            "status": {"podIP": address},
        })
    };
    let mut leaving = pod(json!("127.0.0.3"), 8862);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-30T00:00:00Z");
    // One that has no address yet, and one that leaves.
    let pods =
        json!({"items": [pod(json!("127.0.0.2"), 8862), pod(json!("::1"), 8863), pod(Value::Null, 862), leaving]});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pods.json");
    std::fs::write(&file, pods.to_string()).unwrap();
    let output = Command::new("jq").arg("--from-file").arg(deploy("kubernetes/targets.jq")).arg(&file).output();
    let Some(output) = or_skip(output.map_err(|error| format!("jq: {error}"))) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let targets: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |address: &str| json!({"targets": [address], "labels": {"node": "north"}});
    assert_eq!(targets, json!([of("127.0.0.2:8862"), of("[::1]:8863")]));

    std::fs::write(folder.path().join("targets.json"), &output.stdout).unwrap();
    let config = folder.path().join("probe.toml");
    std::fs::write(&config, "api = \"none\"\n[[file-sd]]\nfile = \"targets.json\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(["probe", "--config", "probe.toml"]).current_dir(folder.path());
    let mut probe = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(probe.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find(|line| line.contains("targets.json"));
    probe.kill().unwrap();
    probe.wait().unwrap();
    assert!(said.as_deref().is_some_and(|said| said.ends_with("targets were read (count 2)")), "{said:?}");
}
