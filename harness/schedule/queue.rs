//! Which run begins next, and where. Pure: no process, no file and no clock; time is the caller's, in seconds.
//!
//! List scheduling: whenever there is room, the most urgent run that is ready begins. Urgent is what has the longest way to
//! the plan's end before it, its own time and that of the runs that start from it; by [`Order::Tables`], first of all what
//! completes the table with the least work left. A run that finds too little room keeps what comes free for itself, and
//! until it begins only what ends before then is let past.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::board::{Board, Wish};
use super::slot::Slot;
use crate::plan::{Plan, RunId};

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What has the longest way to go, so that the whole plan ends soonest.
    #[default]
    Soonest,
    /// One table after the other, that with the least work first.
    Tables,
}

impl std::str::FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        match text {
            "soonest" => Ok(Order::Soonest),
            "tables" => Ok(Order::Tables),
            _ => Err(format!("`{text}` is no order; write `soonest` or `tables`")),
        }
    }
}

/// Where a run of the plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    Pending,
    /// On our slots.
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

/// A run that may begin now, and a slot on each of its devices; both by their places among runs and slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The run.
    pub run: usize,
    /// The slots.
    pub slots: Vec<usize>,
}

/// How urgent: the rank of its table, then the seconds of its way, then its place in the plan.
type Urgency = (usize, Reverse<u64>, usize);

/// What runs have in common that fit in the same places: how many devices, whether alone.
type Shape = (usize, bool);

/// So many runs are looked at for one that ends before a larger one can begin.
const LOOKED_AT: usize = 1000;

/// The runs of a plan, each in a [`State`], and the slots.
#[derive(Clone, Debug)]
pub struct Queue {
    runs: Vec<Run>,
    board: Board,
    /// Pending runs that wait for nothing but room.
    ready: BTreeMap<Shape, BTreeSet<Urgency>>,
    /// Pending runs that are tried again later, by when.
    later: BTreeSet<(u64, usize)>,
    running: BTreeSet<usize>,
    elsewhere: BTreeSet<usize>,
    open: usize,
}

#[derive(Clone, Debug)]
struct Run {
    state: State,
    stage: Option<usize>,
    followers: Vec<usize>,
    wish: Wish,
    /// The rank of the first of the tables that it helps to complete.
    rank: usize,
    /// Expected, on its devices.
    seconds: f64,
    /// Its own seconds and the longest way of its followers.
    way: f64,
    began: f64,
    /// It is pending, and not ready before.
    not_before: Option<f64>,
}

/// Bits that are ordered as the times are, of which none is negative.
fn bits(seconds: f64) -> u64 {
    seconds.max(0.0).to_bits()
}

impl Queue {
    /// Every run pending. `seconds` says how long each is expected to take; zero for one that is done.
    pub fn new(plan: &Plan, slots: &[Slot], order: Order, seconds: &[f64]) -> Queue {
        let places: HashMap<&RunId, usize> = plan
            .runs
            .iter()
            .enumerate()
            .map(|(i, run)| (&run.id, i))
            .collect();
        let mut runs: Vec<Run> = plan
            .runs
            .iter()
            .map(|run| Run {
                state: State::Pending,
                stage: run.needs.as_ref().and_then(|id| places.get(id).copied()),
                followers: Vec::new(),
                wish: Wish {
                    devices: run.devices,
                    alone: false,
                    memory: None,
                },
                rank: 0,
                seconds: 0.0,
                way: 0.0,
                began: 0.0,
                not_before: None,
            })
            .collect();
        for i in 0..runs.len() {
            if let Some(stage) = runs[i].stage {
                runs[stage].followers.push(i);
            }
        }
        let mut queue = Queue {
            open: runs.len(),
            runs,
            board: Board::new(slots),
            ready: BTreeMap::new(),
            later: BTreeSet::new(),
            running: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
        };
        if order == Order::Tables {
            queue.rank(plan, seconds);
        }
        queue.expect(seconds);
        queue
    }

    /// Ranks tables by their work, and runs by the first table that they help to complete.
    fn rank(&mut self, plan: &Plan, seconds: &[f64]) {
        let mut numbers: HashMap<(&str, &str), usize> = HashMap::new();
        let mut tables: Vec<BTreeSet<usize>> = Vec::new();
        for run in &plan.runs {
            let mut of = BTreeSet::new();
            for cell in &run.cells {
                let next = numbers.len();
                let table = (cell.suite.as_str(), cell.table.as_str());
                of.insert(*numbers.entry(table).or_insert(next));
            }
            tables.push(of);
        }
        for i in self.followers_first() {
            if let Some(stage) = self.runs[i].stage {
                let needed = tables[i].clone();
                tables[stage].extend(needed);
            }
        }
        let mut work = vec![0.0; numbers.len()];
        for (i, run) in self.runs.iter().enumerate() {
            for &table in &tables[i] {
                work[table] += seconds[i] * run.wish.devices as f64;
            }
        }
        let mut order: Vec<usize> = (0..work.len()).collect();
        order.sort_by(|&a, &b| work[a].total_cmp(&work[b]));
        let mut ranks = vec![0; work.len()];
        for (rank, table) in order.into_iter().enumerate() {
            ranks[table] = rank;
        }
        for (run, tables) in self.runs.iter_mut().zip(tables) {
            let first = tables.into_iter().map(|table| ranks[table]).min();
            run.rank = first.unwrap_or(work.len());
        }
    }

    /// All runs, each after those that start from it.
    fn followers_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.runs.len())
            .filter(|&i| self.runs[i].stage.is_none())
            .collect();
        let mut next = 0;
        while next < order.len() {
            order.extend(&self.runs[order[next]].followers);
            next += 1;
        }
        order.reverse();
        order
    }

    /// Other times are expected from now on.
    pub fn expect(&mut self, seconds: &[f64]) {
        for i in self.followers_first() {
            let followers = self.runs[i].followers.iter();
            let after = followers.map(|&i| self.runs[i].way).fold(0.0, f64::max);
            self.runs[i].seconds = seconds[i];
            self.runs[i].way = seconds[i] + after;
        }
        self.ready.clear();
        for i in 0..self.runs.len() {
            self.line_up(i);
        }
    }

    /// A run, or one like it, was seen to take so many bytes of a device.
    pub fn takes_memory(&mut self, run: usize, bytes: u64) {
        let memory = &mut self.runs[run].wish.memory;
        *memory = (*memory).max(Some(bytes));
        if self.runs[run].state == State::Running {
            self.board.takes_memory(run, bytes);
        }
    }

    /// The most that a run, or one like it, was seen to take of a device; none where it was not seen.
    pub fn memory(&self, run: usize) -> Option<u64> {
        self.runs[run].wish.memory
    }

    /// The device behind a slot has so many bytes.
    pub fn has_memory(&mut self, slot: usize, bytes: u64) {
        self.board.has_memory(slot, bytes);
    }

    fn shape(&self, i: usize) -> Shape {
        (self.runs[i].wish.devices, self.runs[i].wish.alone)
    }

    fn urgency(&self, i: usize) -> Urgency {
        (self.runs[i].rank, Reverse(bits(self.runs[i].way)), i)
    }

    /// Enters a run among the ready if it waits for nothing.
    fn line_up(&mut self, i: usize) {
        let run = &self.runs[i];
        let is_before = |stage: usize| self.runs[stage].state == State::Done;
        if run.state == State::Pending
            && run.not_before.is_none()
            && run.stage.is_none_or(is_before)
        {
            let (shape, urgency) = (self.shape(i), self.urgency(i));
            self.ready.entry(shape).or_default().insert(urgency);
        }
    }

    /// The most urgent run for which there is room at the time `now`. It stays pending: [`Queue::begin`] begins it, and
    /// [`Queue::set`] moves it elsewhere.
    pub fn next(&mut self, now: f64) -> Option<Placement> {
        while let Some(&(at, i)) = self.later.first()
            && at <= bits(now)
        {
            self.later.pop_first();
            self.runs[i].not_before = None;
            self.line_up(i);
        }
        if !self.board.is_idle_somewhere() {
            return None;
        }
        let mut heads: Vec<(Urgency, Shape)> = self
            .ready
            .iter()
            .filter_map(|(shape, ready)| Some((*ready.first()?, *shape)))
            .collect();
        heads.sort();
        let ((_, _, first), _) = *heads.first()?;
        if let Some(placement) = self.fit(first) {
            return Some(placement);
        }
        let until = self.room_at(first, now);
        heads
            .iter()
            .flat_map(|(_, shape)| self.ready[shape].iter().take(LOOKED_AT))
            .filter(|(_, _, i)| now + self.runs[*i].seconds <= until)
            .find_map(|(_, _, i)| self.fit(*i))
    }

    fn fit(&self, i: usize) -> Option<Placement> {
        let slots = self.board.fit(&self.runs[i].wish)?;
        Some(Placement { run: i, slots })
    }

    /// When there is expected to be room for a run that does not fit now.
    fn room_at(&self, i: usize, now: f64) -> f64 {
        let end = |&i: &usize| ((self.runs[i].began + self.runs[i].seconds).max(now), i);
        let mut ends: Vec<(f64, usize)> = self.running.iter().map(end).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut board = self.board.clone();
        for (end, running) in ends {
            board.free(running);
            if board.fit(&self.runs[i].wish).is_some() {
                return end;
            }
        }
        now
    }

    /// Begins a run that [`Queue::next`] placed.
    pub fn begin(&mut self, placement: &Placement, now: f64) {
        let i = placement.run;
        self.set(i, State::Running);
        self.runs[i].began = now;
        self.board.take(i, &placement.slots, &self.runs[i].wish);
    }

    /// Lets a run be tried again at the time `at`, `alone` on its devices if it needs that.
    pub fn again(&mut self, run: usize, at: f64, alone: bool) {
        self.leave(run);
        self.runs[run].state = State::Pending;
        self.runs[run].wish.alone |= alone;
        self.runs[run].not_before = Some(at);
        self.later.insert((bits(at), run));
    }

    /// Takes a run out of where it stood.
    fn leave(&mut self, i: usize) {
        let (shape, urgency) = (self.shape(i), self.urgency(i));
        match self.runs[i].state {
            State::Pending => {
                if let Some(at) = self.runs[i].not_before.take() {
                    self.later.remove(&(bits(at), i));
                } else if let Some(ready) = self.ready.get_mut(&shape) {
                    ready.remove(&urgency);
                }
            }
            State::Running => {
                self.running.remove(&i);
                self.board.free(i);
            }
            State::Elsewhere => {
                self.elsewhere.remove(&i);
            }
            _ => {}
        }
    }

    /// Moves a run to a state. Returns the runs that can no longer begin because of it.
    pub fn set(&mut self, run: usize, state: State) -> Vec<usize> {
        self.leave(run);
        let had_ended = self.runs[run].state.has_ended();
        self.runs[run].state = state;
        match (had_ended, state.has_ended()) {
            (false, true) => self.open -= 1,
            (true, false) => self.open += 1,
            _ => {}
        }
        let followers = self.runs[run].followers.clone();
        match state {
            State::Pending => self.line_up(run),
            State::Running => {
                self.running.insert(run);
            }
            State::Elsewhere => {
                self.elsewhere.insert(run);
            }
            State::Done => followers.into_iter().for_each(|i| self.line_up(i)),
            State::Failed | State::Blocked => {
                let mut blocked = Vec::new();
                for i in followers {
                    if self.runs[i].state == State::Pending {
                        blocked.push(i);
                        blocked.extend(self.set(i, State::Blocked));
                    }
                }
                blocked.sort();
                return blocked;
            }
            State::Interrupted => {}
        }
        Vec::new()
    }

    /// The device behind a slot is gone. Returns the slots that go with it, and the runs that now need more devices than
    /// there are.
    pub fn retire(&mut self, slot: usize) -> (Vec<usize>, Vec<usize>) {
        let gone = self.board.retire(slot);
        let stuck = (0..self.runs.len())
            .filter(|&i| self.runs[i].state == State::Pending && !self.has_room_for(i));
        (gone, stuck.collect())
    }

    /// Whether there are as many devices as a run needs, free or not.
    pub fn has_room_for(&self, run: usize) -> bool {
        self.runs[run].wish.devices <= self.board.most()
    }

    /// How many runs have not begun.
    pub fn waiting(&self) -> usize {
        self.open - self.running.len() - self.elsewhere.len()
    }

    /// Where a run stands.
    pub fn state(&self, run: usize) -> State {
        self.runs[run].state
    }

    /// The runs in a state, in the plan's order.
    pub fn all(&self, state: State) -> Vec<usize> {
        match state {
            State::Running => self.running.iter().copied().collect(),
            State::Elsewhere => self.elsewhere.iter().copied().collect(),
            _ => (0..self.runs.len())
                .filter(|&i| self.runs[i].state == state)
                .collect(),
        }
    }

    /// Whether every run has ended.
    pub fn is_over(&self) -> bool {
        self.open == 0
    }

    /// Seconds until the plan's end, as expected at the time `now`: the work that is left over the slots that are left, and
    /// no less than the longest way.
    pub fn left(&self, now: f64) -> f64 {
        let (mut work, mut longest) = (0.0, 0.0_f64);
        for run in &self.runs {
            let gone = match run.state {
                State::Pending => 0.0,
                State::Running => now - run.began,
                _ => continue,
            };
            // A run that takes longer than expected is expected to end at any moment.
            let gone = gone.min(run.seconds);
            work += (run.seconds - gone) * run.wish.devices as f64;
            longest = longest.max(run.way - gone);
        }
        longest.max(work / self.board.slots_left().max(1) as f64)
    }
}
