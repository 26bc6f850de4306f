//! What the load balancer reports, under our own names.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use crate::observe::Datapath;

/// Gauges and counters of the load balancer.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) seen: watch::Receiver<Datapath>,
}

impl Collector for Balancer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Datapath {
            unavailable,
            report,
        } = self.seen.borrow().clone();
        let is_ready = usize::from(report.ready && unavailable.is_none());
        let sizes = [
            ("ready", "1 while Services are balanced", is_ready),
            (
                "frontends",
                "Frontends in the maps, a NodePort counted once",
                report.frontends,
            ),
            ("backends", "Backends in the maps", report.backends),
            (
                "interfaces",
                "Interfaces with our programs",
                attached(&report),
            ),
        ];
        for (name, help, value) in sizes {
            let name = format!("load_balancer_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let memory = encoder.encode_descriptor(
            "load_balancer_map_memory",
            "Kernel memory that the maps hold",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::try_from(report.memory).unwrap_or(i64::MAX)).encode(memory)?;
        withheld(&mut encoder, &report)?;
        packets(&mut encoder, &report)
    }
}

fn attached(report: &lb::Report) -> usize {
    let interfaces = report.interfaces.values();
    let attached = interfaces.filter(|attachment| match attachment {
        lb::Attachment::Uplink | lb::Attachment::Pod => true,
        lb::Attachment::Refused(_) => false,
    });
    attached.count()
}

fn withheld(encoder: &mut DescriptorEncoder<'_>, report: &lb::Report) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(
        "load_balancer_withheld_services",
        "Services that are not, or not wholly, in the maps",
        None,
        MetricType::Gauge,
    )?;
    for withheld in &report.withheld {
        let labels = [("reason", withheld.reason.to_string())];
        let count = i64::try_from(withheld.count).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn packets(encoder: &mut DescriptorEncoder<'_>, report: &lb::Report) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(
        "load_balancer_packets",
        "Packets by what became of them",
        None,
        MetricType::Counter,
    )?;
    for (reason, count) in &report.counters {
        let labels = [("reason", *reason)];
        ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::observe::Report;

    #[test]
    fn the_load_balancer_is_measured_under_our_own_name() {
        let report = lb::Report {
            ready: true,
            frontends: 7,
            backends: 9,
            withheld: vec![lb::Withheld {
                reason: lb::WithheldReason::Full(lb::Table::Rings),
                count: 2,
                examples: Vec::new(),
            }],
            memory: 4096,
            counters: vec![("no-backend", 3)],
            ..lb::Report::default()
        };
        let (_seen, seen) = watch::channel(Datapath {
            unavailable: None,
            report,
        });
        let (_reports, reports) = watch::channel(Report::default());
        let (_, imports) = watch::channel(crate::routes::Imports::default());
        let text = Metrics::new(reports, imports, Some(seen))
            .encode()
            .expect("text");
        for line in [
            "tombolo_load_balancer_ready 1",
            "tombolo_load_balancer_frontends 7",
            "tombolo_load_balancer_backends 9",
            "tombolo_load_balancer_interfaces 0",
            "tombolo_load_balancer_map_memory_bytes 4096",
            r#"tombolo_load_balancer_withheld_services{reason="the table of Maglev rings is full"} 2"#,
            r#"tombolo_load_balancer_packets_total{reason="no-backend"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
        assert!(text.contains("cilium_bgp_control_plane_session_state"));
    }
}
