//! gatewayd: its configuration, its threads, and the wiring between the modules.
//!
//! [`threads`] draws the threads and the channels between them; [`wiring`] is the only place that knows both IKE and the
//! data path; [`gateway`] is what the control task decides with.

pub mod api;
pub mod changed;
pub mod closed;
pub mod command_ring;
pub mod conditions;
pub mod config;
pub mod connections;
pub mod data_threads;
pub mod events;
pub mod export;
pub mod gateway;
pub mod ike_arrivals;
pub mod ike_handle;
pub mod ike_thread;
pub mod key_log;
pub mod loading;
pub mod log;
pub mod metrics;
pub mod names;
pub mod owner_file;
pub mod owner_keeper;
pub mod owner_set;
pub mod path_changes;
pub mod policy;
pub mod process;
pub mod request_queue;
pub mod run;
pub mod send_failures;
pub mod source_queue;
pub mod status;
pub mod threads;
pub mod token_secret;
pub mod wiring;
