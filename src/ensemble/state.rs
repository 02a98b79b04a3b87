//! What this server is at the moment, for whoever is asked by operators.

use std::sync::{Arc, Mutex};

use crate::peer::ServerState;
use crate::tree::Tree;

/// Written by the Zab core at each change of role; read by client cores that answer four-letter words.
#[derive(Debug)]
pub struct SharedState(Mutex<(ServerState, Arc<Tree>)>);

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tree(at {})", self.applied())
    }
}

impl SharedState {
    pub fn new(tree: Arc<Tree>) -> SharedState {
        SharedState(Mutex::new((ServerState::Looking, tree)))
    }

    pub fn show(&self, state: ServerState, tree: &Arc<Tree>) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = (state, tree.clone());
    }

    /// The role, and the tree that goes with it.
    pub fn now(&self) -> (ServerState, Arc<Tree>) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}
