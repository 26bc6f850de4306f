//! Addresses that writes give to Services, from the start of each write until its end is known.
//!
//! A plan made in between would give them to others too. So it sees them as if the Service showed them already. A write
//! that ended without an answer may have been carried out; it names the version of the Service that it is for, so a
//! newer one tells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use plan::addresses::{SERVICE_CONDITION, ServiceOp};
use plan::snapshot::Ingress;
use plan::{NamespacedName, ServiceFacts, Snapshot};

/// Promises not yet kept.
#[derive(Debug, Default)]
pub struct Promised(BTreeMap<NamespacedName, Promise>);

#[derive(Debug)]
struct Promise {
    resource_version: String,
    addresses: Vec<IpAddr>,
    /// The Service with the addresses: the same each time, so that plans see that nothing has changed.
    facts: Option<Arc<ServiceFacts>>,
}

impl Promised {
    /// A write starts.
    pub fn note(&mut self, op: &ServiceOp) {
        let promise = Promise {
            resource_version: op.resource_version.clone(),
            addresses: op.ingress.clone(),
            facts: None,
        };
        self.0.insert(op.name.clone(), promise);
    }

    /// A write has ended: it was answered, or was not carried out.
    pub fn forget(&mut self, name: &NamespacedName) {
        self.0.remove(name);
    }

    /// The snapshot with what is promised. Forgets promises for versions of Services that are no longer.
    pub fn correct(&mut self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let services = &snapshot.services;
        self.0.retain(|name, promise| {
            let facts = services.get(name);
            facts.is_some_and(|facts| facts.resource_version == promise.resource_version)
        });
        let mut promised = Vec::new();
        for (name, promise) in &mut self.0 {
            if let Some(facts) = services.get(name).and_then(|facts| promise.kept(facts)) {
                promised.push((name, facts));
            }
        }
        if promised.is_empty() {
            return snapshot;
        }
        let mut corrected = Arc::unwrap_or_clone(snapshot);
        for (name, facts) in promised {
            corrected.services.insert(name.clone(), facts);
        }
        Arc::new(corrected)
    }
}

impl Promise {
    /// The Service as if the promise were kept, unless it shows everything already. Our condition is not what it will be,
    /// so that a plan never takes the Service for one of which nothing is to be written.
    fn kept(&mut self, facts: &Arc<ServiceFacts>) -> Option<Arc<ServiceFacts>> {
        let shown: Vec<IpAddr> = facts.shown_addresses().collect();
        let new = self.addresses.iter().filter(|new| !shown.contains(new));
        let new: Vec<Ingress> = new.copied().map(Ingress::Address).collect();
        if new.is_empty() {
            return None;
        }
        let kept = self.facts.get_or_insert_with(|| {
            let mut kept = ServiceFacts::clone(facts);
            kept.ingress.extend(new);
            let mut conditions = kept.conditions.iter_mut();
            if let Some(ours) = conditions.find(|ours| ours.type_ == SERVICE_CONDITION) {
                ours.reason.clear();
            }
            Arc::new(kept)
        });
        Some(Arc::clone(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> NamespacedName {
        NamespacedName {
            namespace: "default".into(),
            name: "web".into(),
        }
    }

    fn snapshot(version: &str, shown: &[&str]) -> Arc<Snapshot> {
        let facts = ServiceFacts {
            resource_version: version.to_owned(),
            ingress: shown
                .iter()
                .map(|text| Ingress::Address(text.parse().unwrap()))
                .collect(),
            ..ServiceFacts::default()
        };
        let mut snapshot = Snapshot::default();
        snapshot.services.insert(name(), Arc::new(facts));
        Arc::new(snapshot)
    }

    fn promised() -> Promised {
        let mut promised = Promised::default();
        promised.note(&ServiceOp {
            name: name(),
            resource_version: "7".to_owned(),
            ingress: vec!["10.0.0.1".parse().unwrap()],
            conditions: Vec::new(),
        });
        promised
    }

    fn shown(snapshot: &Snapshot) -> Vec<String> {
        let shown = snapshot.services[&name()].shown_addresses();
        shown.map(|address| address.to_string()).collect()
    }

    #[test]
    fn what_is_promised_is_beside_what_is_shown() {
        let rows: [(&[&str], &[&str]); 3] = [
            (&[], &["10.0.0.1"]),
            (&["10.0.0.1"], &["10.0.0.1"]),
            (&["10.0.0.5"], &["10.0.0.5", "10.0.0.1"]),
        ];
        for (before, after) in rows {
            assert_eq!(shown(&promised().correct(snapshot("7", before))), after);
        }
    }

    #[test]
    fn a_plan_sees_the_same_object_while_the_promise_is_the_same() {
        let mut promised = promised();
        let [first, second] = [(); 2].map(|()| promised.correct(snapshot("7", &[])));
        let of = |snapshot: &Snapshot| Arc::clone(&snapshot.services[&name()]);
        assert!(Arc::ptr_eq(&of(&first), &of(&second)));
    }

    #[test]
    fn another_version_or_the_end_of_the_write_ends_a_promise() {
        let mut newer = promised();
        assert!(shown(&newer.correct(snapshot("8", &[]))).is_empty());
        let mut gone = promised();
        gone.correct(Arc::default());
        let mut ended = promised();
        ended.forget(&name());
        for mut promised in [newer, gone, ended] {
            assert!(shown(&promised.correct(snapshot("7", &[]))).is_empty());
        }
    }
}
