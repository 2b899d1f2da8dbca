//! Which run is next. Pure.

use std::collections::HashMap;

use crate::plan::{Plan, RunId};

/// Where a run of the plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    Pending,
    /// On one of our slots.
    Running,
    /// Another supervisor is at it.
    Elsewhere,
    /// Its result is in the store.
    Done,
    /// It failed.
    Failed,
    /// The run it starts from failed, or left no weights.
    Blocked,
    /// It was stopped, or will not be begun.
    Interrupted,
}

impl State {
    fn has_ended(self) -> bool {
        !matches!(self, State::Pending | State::Running | State::Elsewhere)
    }
}

/// The runs of a plan, by their place in it, each in a [`State`].
#[derive(Clone, Debug)]
pub struct Queue {
    states: Vec<State>,
    needs: Vec<Option<usize>>,
}

impl Queue {
    /// Every run pending.
    pub fn new(plan: &Plan) -> Queue {
        let places: HashMap<&RunId, usize> = plan
            .runs
            .iter()
            .enumerate()
            .map(|(i, run)| (&run.id, i))
            .collect();
        let needs = plan
            .runs
            .iter()
            .map(|run| run.needs.as_ref().and_then(|id| places.get(id).copied()))
            .collect();
        Queue {
            states: vec![State::Pending; plan.runs.len()],
            needs,
        }
    }

    /// The first run of the plan that can begin now: it waits for nothing.
    pub fn next(&self) -> Option<usize> {
        (0..self.states.len()).find(|&i| {
            self.states[i] == State::Pending
                && self.needs[i].is_none_or(|stage| self.states[stage] == State::Done)
        })
    }

    /// Moves a run to a state. Returns the runs that can no longer begin because of it.
    pub fn set(&mut self, run: usize, state: State) -> Vec<usize> {
        self.states[run] = state;
        if !matches!(state, State::Failed | State::Blocked) {
            return Vec::new();
        }
        let mut blocked = Vec::new();
        let mut causes = vec![run];
        while let Some(cause) = causes.pop() {
            for i in 0..self.states.len() {
                if self.needs[i] == Some(cause) && self.states[i] == State::Pending {
                    self.states[i] = State::Blocked;
                    blocked.push(i);
                    causes.push(i);
                }
            }
        }
        blocked.sort();
        blocked
    }

    /// Where a run stands.
    pub fn state(&self, run: usize) -> State {
        self.states[run]
    }

    /// The runs in a state, in the plan's order.
    pub fn all(&self, state: State) -> Vec<usize> {
        (0..self.states.len())
            .filter(|&i| self.states[i] == state)
            .collect()
    }

    /// Whether every run has ended.
    pub fn is_over(&self) -> bool {
        self.states.iter().all(|state| state.has_ended())
    }
}
