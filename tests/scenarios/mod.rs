//! The table of scenarios: which claims are shown, on which topology, in which order.

mod agent_restarts;
mod api_server_outage;
mod attributes;
mod backends;
mod balancing;
mod balancing_restarts;
mod beside_others;
mod cold_start;
mod costs;
mod frontends;
mod interop;
mod labels;
mod latency;
mod learned_routes;
mod malformed_messages;
mod many_peers;
mod nothing_left;
mod profiles;
mod published_manifests;
mod router_restarts;
mod same_port;
mod services;
mod timers;
mod upgrade_and_uninstall;

use lab::topology::published;
use scenarios::harness::{Scenario, Suite};
use scenarios::topologies;

const fn scenario(
    name: &'static str,
    run: fn(&mut scenarios::Lab) -> Result<(), scenarios::Failure>,
) -> Scenario {
    Scenario { name, run }
}

/// Every scenario by topology. What reinstalls Tombolo comes last, so that its agents' ages disturb nobody.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        topology: published,
        values: &[],
        scenarios: &[
            scenario(
                "published_manifests_reach_the_routers_kernel",
                published_manifests::reach_the_routers_kernel,
            ),
            scenario(
                "an_idle_agent_is_small_and_quiet",
                costs::an_idle_agent_is_small_and_quiet,
            ),
            scenario(
                "the_label_decides_which_nodes_peer",
                labels::decide_which_nodes_peer,
            ),
            scenario(
                "communities_change_without_a_reset",
                attributes::communities_change_without_a_reset,
            ),
            scenario(
                "a_service_is_given_an_address_and_announced_where_it_may_be",
                services::is_given_an_address_and_announced,
            ),
            scenario(
                "a_cleared_session_is_back_at_once",
                router_restarts::a_cleared_session_is_back_at_once,
            ),
            scenario(
                "a_restarted_router_gets_its_routes_back",
                router_restarts::a_restarted_router_gets_its_routes_back,
            ),
            scenario(
                "a_router_that_vanishes_is_noticed_and_found_again",
                router_restarts::a_router_that_vanishes_is_noticed,
            ),
            scenario(
                "a_killed_agent_loses_no_packet",
                agent_restarts::a_killed_agent_loses_no_packet,
            ),
            scenario(
                "a_deleted_agent_loses_no_packet",
                agent_restarts::a_deleted_agent_loses_no_packet,
            ),
            scenario(
                "a_rolled_daemonset_loses_no_packet",
                agent_restarts::a_rolled_daemonset_loses_no_packet,
            ),
            scenario(
                "sessions_outlive_the_api_server",
                api_server_outage::sessions_outlive_the_api_server,
            ),
            scenario(
                "malformed_messages_hurt_only_their_sender",
                malformed_messages::hurt_only_their_sender,
            ),
            scenario(
                "fifty_peers_are_up_and_stay_up",
                many_peers::fifty_are_up_and_stay_up,
            ),
            scenario(
                "an_upgrade_loses_no_packet",
                upgrade_and_uninstall::an_upgrade_loses_no_packet,
            ),
            scenario(
                "uninstalling_ends_the_sessions_at_once",
                upgrade_and_uninstall::uninstalling_ends_the_sessions_at_once,
            ),
        ],
    },
    Suite {
        topology: topologies::interop,
        values: &[],
        scenarios: &[
            scenario(
                "frr_learns_by_ebgp_and_ibgp_over_both_families",
                interop::with_frr,
            ),
            scenario(
                "bird_learns_by_ebgp_and_ibgp_over_both_families",
                interop::with_bird,
            ),
            scenario(
                "gobgp_learns_by_ebgp_and_ibgp_over_both_families",
                interop::with_gobgp,
            ),
            scenario(
                "local_preference_changes_without_a_reset",
                attributes::local_preference_changes_without_a_reset,
            ),
            scenario(
                "edited_timers_renegotiate_one_session_alone",
                timers::renegotiate_one_session_alone,
            ),
        ],
    },
    Suite {
        topology: topologies::host_behind,
        values: &["tombolo.profile=routes"],
        scenarios: &[
            scenario(
                "one_import_joins_pods_nodes_and_hosts",
                learned_routes::join_pods_nodes_and_hosts,
            ),
            scenario(
                "leaked_routes_are_refused_and_named",
                learned_routes::leaks_are_refused_and_named,
            ),
            scenario(
                "learned_routes_outlive_their_agent",
                learned_routes::outlive_their_agent,
            ),
            scenario(
                "uninstalling_takes_learned_routes_and_nothing_else",
                learned_routes::uninstalling_takes_what_is_ours,
            ),
        ],
    },
    Suite {
        topology: topologies::balanced,
        values: &["tombolo.profile=full", "kubeProxyReplacement=true"],
        scenarios: &[
            scenario(
                "the_vip_answers_and_the_pods_share_the_work",
                balancing::the_vip_answers_and_spreads,
            ),
            scenario(
                "pods_processes_and_hosts_reach_services",
                balancing::pods_and_hosts_reach_services,
            ),
            scenario(
                "the_same_port_reaches_vip_and_pod",
                same_port::reaches_vip_and_pod,
            ),
            scenario("the_vip_answers_ping", balancing::the_vip_answers_ping),
            scenario(
                "every_kind_of_frontend_is_answered_as_its_policy_says",
                frontends::every_kind_is_answered_as_its_policy_says,
            ),
            scenario(
                "backends_come_and_go_without_a_broken_connection",
                backends::come_and_go,
            ),
            scenario(
                "twelve_services_outlive_agents_upgrades_and_api_servers",
                balancing_restarts::twelve_services_outlive_their_agents,
            ),
            // These three have the same 2,000 Services.
            scenario(
                "a_service_is_in_the_router_and_gone_sooner_than_with_cilium",
                latency::services_are_in_the_router_soon,
            ),
            scenario(
                "thousands_of_services_outlive_agents_upgrades_and_api_servers",
                balancing_restarts::thousands_of_services_outlive_their_agents,
            ),
            scenario(
                "an_agent_that_starts_cold_announces_thousands_of_services_at_once",
                cold_start::is_quick,
            ),
            scenario(
                "programs_filters_and_masquerading_of_others_work_on",
                beside_others::programs_filters_and_masquerading_work_on,
            ),
            scenario(
                "each_profile_has_exactly_its_capabilities",
                profiles::have_exactly_their_capabilities,
            ),
            scenario(
                "a_lacking_capability_is_named",
                profiles::what_is_lacking_is_named,
            ),
            scenario(
                "cleanup_and_uninstalling_leave_nothing_behind",
                nothing_left::after_cleanup_and_uninstall,
            ),
        ],
    },
];
