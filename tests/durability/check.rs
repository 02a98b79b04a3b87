//! Starts from an image as the server does, and compares with what clients had been told.

use std::path::Path;
use std::time::Instant;

use ringkeeper::base::SessionId;
use ringkeeper::peer::Recovered;
use ringkeeper::server::restore::{open_layout, restore};
use ringkeeper::server::{Config, Env};
use ringkeeper::tree::View;

use crate::load::{Phase, Told, WRITER_TIMEOUT_MS};
use crate::model::{self, State};

/// Follows the writers through the images, which come in order of time.
pub struct Checker {
    /// Each writer's state after all that was acknowledged at the last image, and how much that was.
    acknowledged: Vec<(State, u64)>,
}

impl Checker {
    pub fn new(writers: usize) -> Checker {
        let mut state = State::new();
        for name in ["register", "multi"] {
            state.insert(name.into(), String::new());
        }
        Checker { acknowledged: vec![(state, 0); writers] }
    }

    pub fn check(&mut self, image: &Path, told: &Told) -> Result<(), String> {
        let file = image.with_file_name("zoo.cfg");
        std::fs::write(&file, format!("dataDir={}\nclientPort=1\n", image.display()))
            .map_err(|error| error.to_string())?;
        let config = Config::load(&file, &Env::default()).map_err(|error| format!("{error:?}"))?;
        let restored = open_layout(&config.config)
            .and_then(|layout| restore(&config.config, &layout, Instant::now()))
            .map_err(|(code, text)| format!("no start from it, {code:?}: {text}"))?;
        let view = restored.tree.view();
        for id in 0..told.writers.len() {
            if told.writers[id].session != 0 {
                self.writer(id, &restored, view, told)?;
            }
        }
        for (number, &(session, phase)) in told.passing.iter().enumerate() {
            passing(number, SessionId(session), phase, &restored, view)?;
        }
        for owner in view.ephemeral_sessions() {
            if !restored.sessions.contains(owner) {
                return Err(format!("ephemerals of {owner}, which is no session"));
            }
        }
        Ok(())
    }

    fn writer(
        &mut self,
        id: usize,
        restored: &Recovered,
        view: View<'_>,
        told: &Told,
    ) -> Result<(), String> {
        let writer = told.writers[id];
        let session = SessionId(writer.session);
        if restored.sessions.timeout_ms(session) != Some(WRITER_TIMEOUT_MS) {
            return Err(format!("writer {id}: its session is gone or another"));
        }
        let (state, done) = &mut self.acknowledged[id];
        while *done < writer.acknowledged {
            model::apply(state, id, *done);
            *done += 1;
        }
        let got = observe(id, session, view)?;
        let (mut state, mut n) = (state.clone(), *done);
        while state != got {
            if n == writer.sent {
                let against = &self.acknowledged[id].0;
                return Err(format!(
                    "writer {id}: {} acknowledged, {} sent; no prefix gives what is there. \
                     Against the acknowledged ones: {}",
                    writer.acknowledged,
                    writer.sent,
                    model::difference(against, &got)
                ));
            }
            model::apply(&mut state, id, n);
            n += 1;
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What there is of a writer.
fn observe(id: usize, session: SessionId, view: View<'_>) -> Result<State, String> {
    let mut state = State::new();
    let home = format!("/w{id}");
    let node = view.lookup(home.as_bytes()).ok_or_else(|| format!("{home} is not there"))?;
    let mut names = Vec::new();
    node.for_each_child(|name| names.push(text(name)));
    for name in names {
        let path = format!("{home}/{name}");
        let node = view.lookup(path.as_bytes()).ok_or_else(|| format!("{path} is not there"))?;
        let owner = if name.starts_with('e') { session.0 } else { 0 };
        if node.owner() != owner {
            return Err(format!("{path}: owner {:x}", node.owner()));
        }
        state.insert(name, text(node.data().unwrap_or_default()));
    }
    let mut tokens = Vec::new();
    let seq = view.lookup(b"/seq").ok_or("/seq is not there")?;
    seq.for_each_child(|name| tokens.push(text(name)));
    for name in tokens {
        let node = view.lookup(format!("/seq/{name}").as_bytes()).ok_or("a child without node")?;
        let token = text(node.data().unwrap_or_default());
        if token.starts_with(&format!("{id}-")) {
            state.insert(format!("seq:{token}"), token);
        }
    }
    Ok(state)
}

fn passing(
    number: usize,
    session: SessionId,
    phase: Phase,
    restored: &Recovered,
    view: View<'_>,
) -> Result<(), String> {
    let node = view.lookup(format!("/gone/{number}").as_bytes());
    let (lives, owner) = (restored.sessions.contains(session), node.map(|node| node.owner()));
    let fits = match phase {
        Phase::Opened => lives && owner.is_none_or(|owner| owner == session.0),
        Phase::Created => lives && owner == Some(session.0),
        Phase::Closing => lives == owner.is_some(),
        Phase::Closed => !lives && owner.is_none(),
    };
    if fits {
        return Ok(());
    }
    Err(format!("session {number} is {phase:?}; lives: {lives}, owner of its ephemeral: {owner:?}"))
}
