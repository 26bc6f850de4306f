//! How the import of learned routes goes, as a condition.

use std::collections::BTreeMap;
use std::fmt::Display;

use ipnet::IpNet;

use super::Said;
use crate::node::observed::EXAMPLES;
use crate::node::{ImportPlan, ObservedRoutes, Refusal, RoutesPlan, RoutesProblem, Target};

/// Type of the condition that tells how many learned routes are in the kernel, and which are not and why. Present only where a
/// BGPRouteImport selects the node. `True` is good: every route that may be in the kernel is.
pub const ROUTES_IMPORTED: &str = "tombolo.io/RoutesImported";

/// How it goes. Where targets differ, what is said is the last of these that is true of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// Every accepted route is in the kernel.
    Installed,
    /// As above, and there are routes that rules accept and guards keep out.
    Guarded,
    /// The first complete set of routes is not there yet.
    Pending,
    /// Some accepted route cannot be in the kernel for now.
    Withheld,
    /// The kernel's routes cannot be taken care of.
    Failed,
    /// The agent may not touch the kernel's routes.
    PrivilegeMissing,
}

impl Progress {
    fn status(self) -> &'static str {
        match self {
            Self::Installed | Self::Guarded => "True",
            Self::Pending | Self::Withheld | Self::Failed | Self::PrivilegeMissing => "False",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Installed => "Installed",
            Self::Guarded => "InstalledExceptRefused",
            Self::Pending => "Pending",
            Self::Withheld => "Withheld",
            Self::Failed => "Failed",
            Self::PrivilegeMissing => "PrivilegeMissing",
        }
    }
}

/// What the condition says; nothing where no import selects the node.
pub(super) fn imported(
    plan: &RoutesPlan,
    observed: &BTreeMap<Target, ObservedRoutes>,
) -> Option<Said> {
    let targets = || {
        let targets = plan.imports.iter();
        targets.map(|(target, imports)| (imports, observed.get(target)))
    };
    let progress = targets().map(|(_, routes)| progress(routes)).max()?;
    let sentences: Vec<String> = targets()
        .map(|(imports, routes)| sentence(imports, routes))
        .collect();
    Some(Said {
        condition_type: ROUTES_IMPORTED,
        status: progress.status(),
        reason: progress.reason(),
        message: sentences.join("\n"),
    })
}

/// Routes on their way are no reason for `Pending` once the first set is complete: with a peer whose routes always change, the
/// status would flap.
fn progress(routes: Option<&ObservedRoutes>) -> Progress {
    let Some(routes) = routes else {
        return Progress::Pending;
    };
    let is_guarded = |refusal: &Refusal| *refusal != Refusal::NotAccepted;
    match &routes.problem {
        Some(RoutesProblem::NetAdminMissing) => Progress::PrivilegeMissing,
        Some(RoutesProblem::Failed(_)) => Progress::Failed,
        None if !routes.withheld.is_empty() => Progress::Withheld,
        None if !routes.ready => Progress::Pending,
        None if routes.refused.keys().any(is_guarded) => Progress::Guarded,
        None => Progress::Installed,
    }
}

fn sentence(imports: &[ImportPlan], routes: Option<&ObservedRoutes>) -> String {
    let names: Vec<String> = imports
        .iter()
        .map(|import| format!("{:?}", import.name))
        .collect();
    let noun = plural("import", imports.len() as u64);
    let by = format!("{noun} {}", names.join(", "));
    let Some(ObservedRoutes {
        installed,
        pending,
        withheld,
        refused,
        ready,
        problem,
    }) = routes
    else {
        return format!("no route installed yet by {by}");
    };
    if let Some(RoutesProblem::NetAdminMissing) = problem {
        return format!(
            "no route installed by {by}; the agent lacks the capability NET_ADMIN, which the chart gives it with \
             tombolo.profile=routes; what an agent before it may have left stays (tombolo-agent cleanup removes it)"
        );
    }
    let mut parts = vec![format!(
        "{installed} {} installed by {by}",
        plural("route", *installed)
    )];
    match problem {
        Some(RoutesProblem::Failed(why)) => parts.push(format!(
            "the kernel's routes cannot be taken care of: {why}"
        )),
        Some(RoutesProblem::NetAdminMissing) | None => {}
    }
    if !ready && problem.is_none() {
        parts.push("the first complete set of routes is still to come".to_owned());
    }
    if *pending > 0 {
        parts.push(format!("{pending} on their way"));
    }
    let mut withheld: Vec<_> = withheld.iter().collect();
    withheld.sort_unstable();
    let withheld = withheld.into_iter();
    parts.extend(list(
        "withheld",
        withheld.map(|group| (&group.reason, group.routes, &group.examples)),
    ));
    let refused = refused.iter();
    parts.extend(list(
        "refused",
        refused.map(|(refusal, group)| (refusal, group.routes, &group.examples)),
    ));
    parts.join("; ")
}

/// `word: what number (examples), ...`; nothing where there is nothing.
fn list<'a, What: Display>(
    word: &str,
    groups: impl Iterator<Item = (What, u64, &'a Vec<IpNet>)>,
) -> Option<String> {
    let groups: Vec<String> = groups
        .map(|(what, routes, examples)| format!("{what} {routes}{}", some(examples, routes)))
        .collect();
    (!groups.is_empty()).then(|| format!("{word}: {}", groups.join(", ")))
}

/// Examples in order, and whether there are more.
fn some(examples: &[IpNet], routes: u64) -> String {
    let mut examples = examples.to_vec();
    examples.sort_unstable();
    examples.truncate(EXAMPLES);
    let mut texts: Vec<String> = examples.iter().map(ToString::to_string).collect();
    if texts.is_empty() {
        return String::new();
    }
    if routes > texts.len() as u64 {
        texts.push("...".to_owned());
    }
    format!(" ({})", texts.join(", "))
}

fn plural(noun: &str, number: u64) -> String {
    if number == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}
