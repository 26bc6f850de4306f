//! The charts: helm's own lint, every rendering that people may get, values that must be refused, and permissions against a
//! list of what nobody may have.

use super::Verdict;
use crate::command;
use crate::error::{Error, InFile};
use crate::workspace::Workspace;
use ::lab::binaries::{HELM, KUBERNETES};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "charts";

/// How a values file that must be refused begins the line that tells a part of the reason.
const SAYS: &str = "# Says: ";

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let helm = HELM.binary("helm")?;
    let mut violations = Vec::new();
    let (mut renderings, mut refusals) = (0, 0);
    let charts = workspace
        .files()?
        .into_iter()
        .filter(|path| path.starts_with(FOLDER) && path.ends_with("Chart.yaml"));
    for chart in charts.filter_map(|path| path.parent().map(|folder| workspace.root.join(folder))) {
        for values in value_files(&chart) {
            command::output(
                helm_with(&helm, "lint", &chart, &values).args(["--strict", "--quiet"]),
            )?;
            let rendered = command::output(&mut template(&helm, &chart, &values))?;
            let profile = Profile::of(values.as_deref())?;
            let name = name(workspace, values.as_deref().unwrap_or(&chart));
            violations.extend(
                objects(&name, &rendered)?
                    .iter()
                    .flat_map(|object| excesses(&name, profile, object)),
            );
            renderings += 1;
        }
        for values in files(&chart.join("ci/refused")) {
            violations.extend(admission(workspace, &helm, &chart, values)?);
            refusals += 1;
        }
    }
    Ok(Verdict {
        remarks: vec![format!("{renderings} renderings, {refusals} refusals")],
        violations,
    })
}

/// That the chart takes values which it must refuse, or does not say why it refuses them.
fn admission(
    workspace: &Workspace,
    helm: &Path,
    chart: &Path,
    values: PathBuf,
) -> Result<Option<String>, Error> {
    let name = name(workspace, &values);
    let text = std::fs::read_to_string(&values).in_file(&name)?;
    let Some(says) = text.lines().find_map(|line| line.strip_prefix(SAYS)) else {
        return Ok(Some(format!("{name}: lacks a line `{SAYS}...`")));
    };
    let output = command::capture(&mut template(helm, chart, &Some(values)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(match (output.status.success(), said.contains(says)) {
        (true, _) => Some(format!("{name}: is not refused")),
        (false, false) => Some(format!("{name}: is refused, but with: {}", said.trim())),
        (false, true) => None,
    })
}

/// Its path below the root.
fn name(workspace: &Workspace, path: &Path) -> String {
    path.strip_prefix(&workspace.root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// What the value `tombolo.profile` lets the agent do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    Advertise,
    Routes,
    Full,
}

impl Profile {
    /// The one of a values file; `advertise` where it names none.
    fn of(values: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = values else {
            return Ok(Self::Advertise);
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).in_file(&name)?;
        let values: Value =
            serde_norway::from_str(&text).map_err(|source| Error::Yaml { name, source })?;
        let profile = values.pointer("/tombolo/profile").and_then(Value::as_str);
        Ok(match profile {
            Some("full") => Self::Full,
            Some("routes") => Self::Routes,
            // Another word does not pass the chart's schema.
            Some(_) | None => Self::Advertise,
        })
    }

    fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::Advertise => &[],
            Self::Routes => &["NET_ADMIN"],
            Self::Full => &["NET_ADMIN", "BPF", "PERFMON"],
        }
    }

    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Advertise | Self::Routes => &[],
            Self::Full => &["/sys/fs/bpf", "/sys/fs/cgroup"],
        }
    }
}

/// The values that a chart is tried with: its `ci` folder, or its defaults alone.
fn value_files(chart: &Path) -> Vec<Option<PathBuf>> {
    let files = files(&chart.join("ci"));
    if files.is_empty() {
        return vec![None];
    }
    files.into_iter().map(Some).collect()
}

/// The files of a folder, in order; none where there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn template(helm: &Path, chart: &Path, values: &Option<PathBuf>) -> Command {
    let mut command = helm_with(helm, "template", chart, values);
    command.args(["--kube-version", KUBERNETES.version]);
    command.args(["--namespace", "kube-system"]);
    command
}

fn helm_with(helm: &Path, verb: &str, chart: &Path, values: &Option<PathBuf>) -> Command {
    let mut command = Command::new(helm);
    command.arg(verb).arg(chart);
    if let Some(values) = values {
        command.arg("--values").arg(values);
    }
    command
}

/// The objects of a rendering.
fn objects(name: &str, rendered: &str) -> Result<Vec<Value>, Error> {
    let documents = rendered
        .split("\n---")
        .map(|text| text.trim_start_matches('-'))
        .filter(|text| !text.trim().is_empty());
    let parse = |text: &str| {
        serde_norway::from_str(text).map_err(|source| Error::Yaml {
            name: name.to_owned(),
            source,
        })
    };
    documents.map(parse).collect()
}

/// What an object asks for and nobody here may have; the agent may have what its profile says.
fn excesses(name: &str, profile: Profile, object: &Value) -> Vec<String> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let place = format!("{name}: {} {}", text("/kind"), text("/metadata/name"));
    let rules = object
        .get("rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut found: Vec<String> = rules
        .flat_map(|rule| rule_excesses(text("/kind"), rule))
        .collect();
    if let Some(pod) = object.pointer("/spec/template/spec") {
        let profile = match (text("/kind"), text("/metadata/name")) {
            ("DaemonSet", "tombolo-agent") => profile,
            _ => Profile::Advertise,
        };
        found.extend(pod_excesses(profile, pod));
    }
    found
        .into_iter()
        .map(|excess| format!("{place}: {excess}"))
        .collect()
}

fn rule_excesses(kind: &str, rule: &Value) -> Vec<String> {
    let words = |key: &str| {
        rule.get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    };
    let wildcard = ["apiGroups", "resources", "verbs"]
        .into_iter()
        .filter(|key| words(key).any(|word| word == "*"));
    let mut found: Vec<String> = wildcard.map(|key| format!("a wildcard in {key}")).collect();
    let everywhere = ["secrets", "configmaps", "leases"]
        .into_iter()
        .filter(|name| kind == "ClusterRole" && words("resources").any(|word| word == *name));
    found.extend(everywhere.map(|resource| format!("{resource} of every namespace")));
    let never = [
        "pods/exec",
        "customresourcedefinitions",
        "clusterroles",
        "rolebindings",
        "clusterrolebindings",
        "nodes/proxy",
    ];
    found.extend(
        never
            .into_iter()
            .filter(|name| words("resources").any(|word| word == *name))
            .map(|resource| format!("access to {resource}")),
    );
    found
}

fn pod_excesses(profile: Profile, pod: &Value) -> Vec<String> {
    let is = |value: &Value, pointer: &str, wanted: &Value| value.pointer(pointer) == Some(wanted);
    let mut found = Vec::new();
    let (user, wanted) = match profile {
        Profile::Advertise => ("/securityContext/runAsNonRoot", true.into()),
        Profile::Routes | Profile::Full => ("/securityContext/runAsUser", 0.into()),
    };
    for (pointer, wanted) in [
        (user, wanted),
        (
            "/securityContext/seccompProfile/type",
            "RuntimeDefault".into(),
        ),
    ] {
        if !is(pod, pointer, &wanted) {
            found.push(format!("the pod lacks {pointer} {wanted}"));
        }
    }
    let capabilities = match profile.capabilities() {
        [] => json!({"drop": ["ALL"]}),
        added => json!({"drop": ["ALL"], "add": added}),
    };
    for container in pod
        .get("containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for (pointer, wanted) in [
            ("/securityContext/allowPrivilegeEscalation", false.into()),
            ("/securityContext/readOnlyRootFilesystem", true.into()),
            ("/securityContext/capabilities", capabilities.clone()),
        ] {
            if !is(container, pointer, &wanted) {
                found.push(format!("a container lacks {pointer} {wanted}"));
            }
        }
    }
    for key in ["hostPID", "hostIPC"] {
        if is(pod, &format!("/{key}"), &true.into()) {
            found.push(format!("the pod has {key}"));
        }
    }
    let volumes = pod
        .get("volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let folders = volumes.filter_map(|volume| volume.get("hostPath"));
    let folders = folders.map(|folder| folder["path"].as_str().unwrap_or_default());
    found.extend(
        folders
            .filter(|folder| !profile.folders().contains(folder))
            .map(|folder| format!("the pod has the folder {folder:?} of its node")),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_that_nobody_may_have_are_found() {
        for (object, excesses_found) in [
            (
                json!({"kind": "ClusterRole", "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}),
                0,
            ),
            (
                json!({"kind": "ClusterRole", "rules": [{"apiGroups": ["*"], "resources": ["nodes"], "verbs": ["*"]}]}),
                2,
            ),
            (
                json!({"kind": "ClusterRole", "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
                1,
            ),
            (
                json!({"kind": "Role", "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
                0,
            ),
            (
                json!({"kind": "Role", "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}]}),
                1,
            ),
        ] {
            let found = excesses("x", Profile::Advertise, &object);
            assert_eq!(found.len(), excesses_found, "{object}");
        }
    }

    /// A pod of this user with these capabilities and folders of its node.
    fn pod(user: &Value, capabilities: &Value, folders: &[&str]) -> Value {
        let mut security = user.clone();
        security["seccompProfile"] = json!({"type": "RuntimeDefault"});
        let volumes = folders
            .iter()
            .map(|path| json!({"name": "v", "hostPath": {"path": path}}));
        json!({
            "securityContext": security,
            "containers": [{"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": capabilities}}],
            "volumes": volumes.collect::<Vec<_>>(),
        })
    }

    #[test]
    fn a_pod_has_the_privileges_of_its_profile_and_no_other() {
        let profiles = [Profile::Advertise, Profile::Routes, Profile::Full];
        let nobody = json!({"runAsNonRoot": true});
        let root = json!({"runAsUser": 0});
        let drop = |added: &[&str]| match added {
            [] => json!({"drop": ["ALL"]}),
            added => json!({"drop": ["ALL"], "add": added}),
        };
        let full = ["NET_ADMIN", "BPF", "PERFMON"];
        let folders = ["/sys/fs/bpf", "/sys/fs/cgroup"];
        // How much is wrong with the pod in each profile.
        let rows = [
            (pod(&nobody, &drop(&[]), &[]), [0, 2, 2]),
            (pod(&root, &drop(&[]), &[]), [1, 1, 1]),
            (pod(&root, &drop(&["NET_ADMIN"]), &[]), [2, 0, 1]),
            (pod(&nobody, &drop(&["NET_ADMIN"]), &[]), [1, 1, 2]),
            (pod(&root, &drop(&full), &folders), [4, 3, 0]),
            (pod(&root, &drop(&full), &["/run"]), [3, 2, 1]),
            (
                pod(&root, &drop(&["NET_ADMIN", "SYS_ADMIN"]), &[]),
                [2, 1, 1],
            ),
            (pod(&root, &json!({"add": ["NET_ADMIN"]}), &[]), [2, 1, 1]),
            (pod(&nobody, &drop(&[]), &["/run"]), [1, 3, 3]),
        ];
        for (pod, wrong) in rows {
            let found = profiles.map(|profile| pod_excesses(profile, &pod).len());
            assert_eq!(found, wrong, "{pod}");
        }
    }

    #[test]
    fn only_the_agent_has_the_privileges_of_the_profile() {
        let pod = pod(
            &json!({"runAsUser": 0}),
            &json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}),
            &[],
        );
        for (kind, name, wrong) in [
            ("DaemonSet", "tombolo-agent", 0),
            ("Deployment", "tombolo-operator", 2),
            ("Deployment", "tombolo-agent", 2),
        ] {
            let object = json!({"kind": kind, "metadata": {"name": name}, "spec": {"template": {"spec": pod}}});
            let found = excesses("x", Profile::Routes, &object);
            assert_eq!(found.len(), wrong, "{kind} {name}");
        }
    }
}
