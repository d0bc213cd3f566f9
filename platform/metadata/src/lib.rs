//! The cluster's metadata: brokers, topics, partitions, configurations, id blocks and deployments of plugins,
//! agreed on by Raft.
//!
//! A change is a [`Command`]. [`Metadata::submit`] hands it to the Raft leader (this broker or another, the
//! caller need not know); once a majority of the voters has it on disk, every broker applies it to its
//! [`Image`], which requests read without locks. A single broker is a cluster of one voter, with no path of
//! its own.
//!
//! Invariants: [`apply`] and [`placement`] are pure, so every broker that applies the same commands holds the
//! same image; an image never changes once published; nothing outside of `raft/` knows openraft; nothing here
//! opens a socket, peers are reached through [`PeerNetwork`].

pub mod apply;
mod cluster_id;
mod command;
mod deployment;
mod errors;
mod image;
mod image_form;
mod member;
mod metadata;
mod network;
mod options;
mod outcome;
mod peer_form;
pub mod placement;
mod raft;
mod shards;
mod threading;
pub mod topic_name;

pub use command::{
    BrokerRegistration, COMMAND_VERSION, Command, ConfigChange, ConfigResource, PartitionAssignment,
    PartitionChange,
};
pub use deployment::{DEPLOYMENT_VERSIONS_KEPT, Deployment, DeploymentInput, DeploymentVersion};
pub use errors::{ReadyError, SUBMIT_TIMEOUT, StartError, SubmitError};
pub use image::{Broker, Configs, Image, ImageDelta, Partition, Topic};
pub use metadata::Metadata;
pub use network::{NoPeers, PeerError, PeerNetwork, RaftRpc};
pub use options::{MetadataOptions, RaftTuning, VoterSet};
pub use outcome::{Outcome, Rejection};
pub use raft::errors::NodeError;
pub use threading::Threading;
