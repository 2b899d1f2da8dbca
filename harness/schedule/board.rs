//! Slots and the devices behind them, and which run is on which. Pure.

use std::collections::BTreeMap;

use super::slot::Slot;

/// What a run needs of the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How many devices, of one kind.
    pub devices: usize,
    /// Nobody beside it. Who needs several devices has them alone anyway.
    pub alone: bool,
    /// Bytes that it was seen to take on a device; none where it was not seen.
    pub memory: Option<u64>,
}

/// All slots. Slots of one accelerator share it; a slot on processors shares nothing.
#[derive(Clone, Debug)]
pub struct Board {
    devices: Vec<Device>,
    /// The device of each slot.
    of: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Device {
    /// Its slots, with the run on each.
    slots: Vec<(usize, Option<Taken>)>,
    /// Devices of one kind serve one run together.
    kind: usize,
    memory: Option<u64>,
    is_gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    run: usize,
    memory: Option<u64>,
}

impl Device {
    fn busy(&self) -> usize {
        let taken = self.slots.iter().filter(|(_, taken)| taken.is_some());
        taken.count()
    }

    /// Whether its memory suffices for one run more. One that was never seen takes an even share; the only one may try.
    fn has_room(&self, memory: Option<u64>) -> bool {
        let Some(all) = self.memory.filter(|_| self.busy() > 0) else {
            return true;
        };
        let share = all / self.slots.len() as u64;
        let beside = self.slots.iter().filter_map(|(_, taken)| taken.as_ref());
        let beside: u64 = beside.map(|taken| taken.memory.unwrap_or(share)).sum();
        beside.saturating_add(memory.unwrap_or(share)) <= all
    }
}

impl Board {
    /// Nothing on any slot.
    pub fn new(slots: &[Slot]) -> Board {
        let mut devices: Vec<Device> = Vec::new();
        let (mut kinds, mut of): (Vec<(&str, usize)>, _) = (Vec::new(), Vec::new());
        let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, slot) in slots.iter().enumerate() {
            let kind = match slot {
                Slot::Cpu { threads } => ("cpu", *threads),
                Slot::Gpu(_) => ("gpu", 1),
                Slot::Task { threads, .. } => ("task", *threads),
            };
            let number = kinds.iter().position(|known| *known == kind);
            let number = number.unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            });
            let device = match slot {
                Slot::Gpu(gpu) => *shared.entry(&gpu.name).or_insert(devices.len()),
                Slot::Cpu { .. } | Slot::Task { .. } => devices.len(),
            };
            if device == devices.len() {
                devices.push(Device {
                    slots: Vec::new(),
                    kind: number,
                    memory: None,
                    is_gone: false,
                });
            }
            devices[device].slots.push((i, None));
            of.push(device);
        }
        Board { devices, of }
    }

    /// The device behind a slot has so many bytes.
    pub fn has_memory(&mut self, slot: usize, bytes: u64) {
        self.devices[self.of[slot]].memory = Some(bytes);
    }

    /// Whether some slot has nothing on it.
    pub fn is_idle_somewhere(&self) -> bool {
        self.left().any(|device| device.busy() < device.slots.len())
    }

    /// Slots whose device is there.
    pub fn slots_left(&self) -> usize {
        self.left().map(|device| device.slots.len()).sum()
    }

    fn left(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| !device.is_gone)
    }

    /// The most devices that a run can have.
    pub fn most(&self) -> usize {
        let mut kinds: BTreeMap<usize, usize> = BTreeMap::new();
        for device in self.left() {
            *kinds.entry(device.kind).or_default() += 1;
        }
        kinds.into_values().max().unwrap_or(0)
    }

    /// A slot on each of the devices that a run may begin on now; the emptiest device, the first of equal ones.
    pub fn fit(&self, wish: &Wish) -> Option<Vec<usize>> {
        if wish.alone || wish.devices > 1 {
            let mut free: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for device in self.left().filter(|device| device.busy() == 0) {
                free.entry(device.kind).or_default().push(device.slots[0].0);
            }
            let mut slots = free.into_values().find(|free| free.len() >= wish.devices)?;
            slots.truncate(wish.devices);
            return Some(slots);
        }
        let device = self
            .left()
            .filter(|device| device.busy() < device.slots.len() && device.has_room(wish.memory))
            .min_by_key(|device| device.busy())?;
        let free = device.slots.iter().find(|(_, taken)| taken.is_none());
        free.map(|(slot, _)| vec![*slot])
    }

    /// Puts a run on the slots that fit it; on all of their devices if it is to be alone.
    pub fn take(&mut self, run: usize, slots: &[usize], wish: &Wish) {
        let taken = Some(Taken {
            run,
            memory: wish.memory,
        });
        for &slot in slots {
            let device = &mut self.devices[self.of[slot]];
            let whole = wish.alone || wish.devices > 1;
            for place in device.slots.iter_mut() {
                if whole || place.0 == slot {
                    place.1 = taken;
                }
            }
        }
    }

    /// A run was seen to take so many bytes of each of its devices.
    pub fn takes_memory(&mut self, run: usize, bytes: u64) {
        let places = self.devices.iter_mut().flat_map(|device| &mut device.slots);
        let taken = places.filter_map(|(_, taken)| taken.as_mut());
        for taken in taken.filter(|taken| taken.run == run) {
            taken.memory = Some(bytes);
        }
    }

    /// The run has ended.
    pub fn free(&mut self, run: usize) {
        let places = self.devices.iter_mut().flat_map(|device| &mut device.slots);
        for (_, taken) in places {
            if taken.is_some_and(|taken| taken.run == run) {
                *taken = None;
            }
        }
    }

    /// The device behind a slot is gone, with all of its slots. Returns those.
    pub fn retire(&mut self, slot: usize) -> Vec<usize> {
        let device = &mut self.devices[self.of[slot]];
        device.is_gone = true;
        device.slots.iter().map(|(slot, _)| *slot).collect()
    }
}
