//! Who owns which node.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig, Selector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use super::rejected::{Holder, Rejected};
use crate::Snapshot;

/// A ClusterConfig that is not being deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Living<'a> {
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    pub(super) config: &'a CiliumBGPClusterConfig,
}

/// What selectors and owner references say together.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    /// Living ClusterConfigs by name, with how they fare.
    pub(super) configs: BTreeMap<&'a str, Claims<'a>>,
    /// Nodes that have, or can now have, a NodeConfig, each with its owner.
    pub(super) owned: BTreeMap<&'a str, Living<'a>>,
    /// NodeConfigs to delete, with their UIDs.
    pub(super) leaving: BTreeMap<&'a str, String>,
    /// NodeConfigs to delete if their owners, which the snapshot does not show, are gone.
    pub(super) dangling: BTreeMap<&'a str, &'a ObjectMeta>,
    /// Rejections by ClusterConfig.
    pub(super) rejected: BTreeMap<String, Vec<Rejected>>,
}

/// How a ClusterConfig fares.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    pub(super) config: &'a CiliumBGPClusterConfig,
    /// Nodes it selects, whether it gets them or not.
    pub(super) selected: BTreeSet<&'a str>,
    /// ClusterConfigs that have nodes it selects.
    pub(super) conflicts: BTreeSet<&'a str>,
}

/// To whom an existing NodeConfig belongs.
enum Owner<'a> {
    /// A living ClusterConfig.
    Living(Living<'a>),
    /// One that is being deleted: its NodeConfig goes now, not when the garbage collector comes.
    Going,
    /// One that is not there, or not there yet for us.
    Unseen,
    /// One whose dependents are to be orphaned, or not the only owner: the garbage collector's work.
    Collector,
    /// No ClusterConfig.
    Nobody,
}

pub(super) fn select(snapshot: &Snapshot) -> Selection<'_> {
    let living = living(snapshot);
    let mut selection = Selection::default();
    for config in &living {
        let selected = match selector(config.config) {
            Ok(selector) => selected(snapshot, &selector),
            Err(invalid) => {
                let reason = Rejected::NodeSelector(invalid);
                selection
                    .rejected
                    .entry(config.name.to_owned())
                    .or_default()
                    .push(reason);
                held(snapshot, config)
            }
        };
        let claims = Claims {
            config: config.config,
            selected,
            conflicts: BTreeSet::new(),
        };
        selection.configs.insert(config.name, claims);
    }
    selection.keep_or_release(snapshot, &living);
    selection.claim(snapshot, &living);
    selection
}

/// The oldest first: who is first gets the free nodes.
fn living(snapshot: &Snapshot) -> Vec<Living<'_>> {
    let alive = snapshot
        .cluster_configs
        .iter()
        .filter(|(_, config)| config.metadata.deletion_timestamp.is_none());
    let mut living: Vec<_> = alive
        .map(|(name, config)| Living {
            name,
            uid: config.metadata.uid.as_deref().unwrap_or_default(),
            config,
        })
        .collect();
    living.sort_by_key(|living| {
        (
            living
                .config
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0),
            living.name,
        )
    });
    living
}

fn selector(config: &CiliumBGPClusterConfig) -> Result<Selector, api::InvalidSelector> {
    config
        .spec
        .node_selector
        .as_ref()
        .map_or_else(|| Ok(Selector::default()), api::LabelSelector::parse)
}

fn selected<'a>(snapshot: &'a Snapshot, selector: &Selector) -> BTreeSet<&'a str> {
    let nodes = snapshot
        .nodes
        .keys()
        .filter(|name| selector.matches(&labels(snapshot, name)));
    nodes.map(String::as_str).collect()
}

/// The labels of a node: those of its Node, and where there is a CiliumNode, those too. Cilium copies them from the one
/// to the other and selects by the copy, so the copy wins.
fn labels<'a>(snapshot: &'a Snapshot, node: &str) -> Cow<'a, BTreeMap<String, String>> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let own = snapshot
        .nodes
        .get(node)
        .map_or(&NONE, |facts| &facts.labels);
    let copy = snapshot
        .cilium_nodes
        .as_ref()
        .and_then(|nodes| nodes.get(node))
        .map_or(&NONE, |facts| &facts.labels);
    if copy.is_empty() || copy == own {
        return Cow::Borrowed(own);
    }
    let mut both = own.clone();
    both.extend(copy.iter().map(|(key, value)| (key.clone(), value.clone())));
    Cow::Owned(both)
}

/// The nodes whose NodeConfigs this ClusterConfig owns at present.
fn held<'a>(snapshot: &'a Snapshot, config: &Living<'_>) -> BTreeSet<&'a str> {
    let held = snapshot.node_configs.iter().filter(|(name, node_config)| {
        let owner = owner_reference(&node_config.metadata);
        snapshot.nodes.contains_key(*name) && owner.is_some_and(|owner| owner.uid == config.uid)
    });
    held.map(|(name, _)| name.as_str()).collect()
}

/// Any version of our group counts: a reference made through `v2alpha1` is as good.
pub(super) fn owner_reference(node_config: &ObjectMeta) -> Option<&OwnerReference> {
    let group = CiliumBGPClusterConfig::group(&());
    let kind = CiliumBGPClusterConfig::kind(&());
    node_config.owner_references.iter().flatten().find(|owner| {
        owner.kind == kind
            && owner
                .api_version
                .split_once('/')
                .is_some_and(|(of_owner, _)| of_owner == group)
    })
}

fn owner<'a>(
    snapshot: &Snapshot,
    living: &[Living<'a>],
    node_config: &CiliumBGPNodeConfig,
) -> Owner<'a> {
    let Some(reference) = owner_reference(&node_config.metadata) else {
        return Owner::Nobody;
    };
    if let Some(config) = living.iter().find(|config| config.uid == reference.uid) {
        return Owner::Living(*config);
    }
    let uid = Some(reference.uid.as_str());
    match snapshot
        .cluster_configs
        .values()
        .find(|config| config.metadata.uid.as_deref() == uid)
    {
        Some(going) if !orphans(going) => Owner::Going,
        None if node_config
            .metadata
            .owner_references
            .iter()
            .flatten()
            .count()
            == 1 =>
        {
            Owner::Unseen
        }
        Some(_) | None => Owner::Collector,
    }
}

/// Whether a ClusterConfig is deleted with `--cascade=orphan`: then its NodeConfigs are to outlive it.
fn orphans(config: &CiliumBGPClusterConfig) -> bool {
    config
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == "orphan")
}

impl<'a> Selection<'a> {
    /// Decides for each NodeConfig there is: its owner keeps the node, or it goes, or it is not ours to touch. One that
    /// is being deleted already is not deleted again.
    fn keep_or_release(&mut self, snapshot: &'a Snapshot, living: &[Living<'a>]) {
        for (name, node_config) in &snapshot.node_configs {
            if node_config.metadata.deletion_timestamp.is_some() {
                continue;
            }
            match owner(snapshot, living, node_config) {
                Owner::Living(config) if self.selects(config, name) => {
                    self.owned.insert(name, config);
                }
                Owner::Living(_) | Owner::Going => {
                    let uid = node_config.metadata.uid.clone().unwrap_or_default();
                    self.leaving.insert(name, uid);
                }
                Owner::Unseen => drop(self.dangling.insert(name, &node_config.metadata)),
                Owner::Collector | Owner::Nobody => {}
            }
        }
    }

    fn selects(&self, config: Living<'_>, node: &str) -> bool {
        self.configs
            .get(config.name)
            .is_some_and(|claims| claims.selected.contains(node))
    }

    /// Gives each free node to the first that selects it. A node whose NodeConfig is about to go is reserved, and owned
    /// once it is gone.
    fn claim(&mut self, snapshot: &'a Snapshot, living: &[Living<'a>]) {
        let mut reserved: BTreeMap<&str, Living<'_>> = BTreeMap::new();
        for config in living {
            let Some(claims) = self.configs.get_mut(config.name) else {
                continue;
            };
            for node in &claims.selected {
                if let Some(owner) = self.owned.get(node).or_else(|| reserved.get(node)) {
                    if owner.name != config.name {
                        claims.conflicts.insert(owner.name);
                    }
                    continue;
                }
                match snapshot.node_configs.get(*node) {
                    None => drop(self.owned.insert(node, *config)),
                    Some(present) if owner_reference(&present.metadata).is_none() => {
                        let reason = Rejected::NotOwned {
                            node: (*node).to_owned(),
                        };
                        self.rejected
                            .entry(config.name.to_owned())
                            .or_default()
                            .push(reason);
                    }
                    Some(_) => drop(reserved.insert(node, *config)),
                }
            }
        }
    }

    /// Router IDs of NodeConfigs that stay and that no plan of ours changes.
    pub(super) fn router_ids_in_use(&self, snapshot: &Snapshot) -> BTreeMap<Ipv4Addr, Holder> {
        let others = snapshot.node_configs.iter().filter(|(name, config)| {
            let stays = config.metadata.deletion_timestamp.is_none()
                && !self.leaving.contains_key(name.as_str());
            stays && !self.owned.contains_key(name.as_str())
        });
        let instances = others.flat_map(|(node, config)| {
            config
                .spec
                .bgp_instances
                .iter()
                .map(move |instance| (node.clone(), instance))
        });
        instances
            .filter_map(|(node, instance)| {
                let router_id = instance.router_id.as_deref()?.parse().ok()?;
                Some((
                    router_id,
                    Holder {
                        node,
                        instance: instance.name.clone(),
                    },
                ))
            })
            .collect()
    }
}
