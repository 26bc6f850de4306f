//! The charts: helm's own lint, every rendering that people may get, and permissions against a list of what nobody may have.

use super::Verdict;
use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;
use ::lab::binaries::{HELM, KUBERNETES};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "charts";

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let helm = HELM.binary("helm")?;
    let mut violations = Vec::new();
    let mut renderings = 0;
    let charts = workspace
        .files()?
        .into_iter()
        .filter(|path| path.starts_with(FOLDER) && path.ends_with("Chart.yaml"));
    for chart in charts.filter_map(|path| path.parent().map(|folder| workspace.root.join(folder))) {
        for values in value_files(&chart) {
            command::output(
                helm_with(&helm, "lint", &chart, &values).args(["--strict", "--quiet"]),
            )?;
            let mut template = helm_with(&helm, "template", &chart, &values);
            let rendered = command::output(template.args([
                "--kube-version",
                KUBERNETES.version,
                "--namespace",
                "kube-system",
            ]))?;
            let name = values.unwrap_or_else(|| chart.clone());
            let name = name
                .strip_prefix(&workspace.root)
                .unwrap_or(&name)
                .display()
                .to_string();
            violations.extend(
                objects(&name, &rendered)?
                    .iter()
                    .flat_map(|object| excesses(&name, object)),
            );
            renderings += 1;
        }
    }
    Ok(Verdict {
        remarks: vec![format!("{renderings} renderings")],
        violations,
    })
}

/// The values that a chart is tried with: its `ci` folder, or its defaults alone.
fn value_files(chart: &Path) -> Vec<Option<PathBuf>> {
    let entries = std::fs::read_dir(chart.join("ci"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut files: Vec<_> = entries.map(|entry| Some(entry.path())).collect();
    files.sort();
    if files.is_empty() { vec![None] } else { files }
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

/// What an object asks for and nobody here may have.
fn excesses(name: &str, object: &Value) -> Vec<String> {
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
        found.extend(pod_excesses(pod));
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

fn pod_excesses(pod: &Value) -> Vec<String> {
    let is = |value: &Value, pointer: &str, wanted: &Value| value.pointer(pointer) == Some(wanted);
    let mut found = Vec::new();
    for (pointer, wanted) in [
        ("/securityContext/runAsNonRoot", true.into()),
        (
            "/securityContext/seccompProfile/type",
            "RuntimeDefault".into(),
        ),
    ] {
        if !is(pod, pointer, &wanted) {
            found.push(format!("the pod lacks {pointer} {wanted}"));
        }
    }
    for container in pod
        .get("containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for (pointer, wanted) in [
            ("/securityContext/allowPrivilegeEscalation", false.into()),
            ("/securityContext/readOnlyRootFilesystem", true.into()),
            (
                "/securityContext/capabilities",
                serde_json::json!({"drop": ["ALL"]}),
            ),
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
    found.extend(
        volumes
            .filter(|volume| volume.get("hostPath").is_some())
            .map(|_| "the pod has a folder of its node".to_owned()),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            assert_eq!(excesses("x", &object).len(), excesses_found, "{object}");
        }
    }

    #[test]
    fn a_pod_with_any_privilege_is_found() {
        let pod = |capabilities: Value| {
            json!({
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": capabilities}}],
            })
        };
        assert_eq!(
            pod_excesses(&pod(json!({"drop": ["ALL"]}))),
            Vec::<String>::new()
        );
        assert_eq!(
            pod_excesses(&pod(json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}))).len(),
            1
        );
        let mut with_folder = pod(json!({"drop": ["ALL"]}));
        with_folder["volumes"] = json!([{"name": "run", "hostPath": {"path": "/run"}}]);
        assert_eq!(pod_excesses(&with_folder).len(), 1);
    }
}
