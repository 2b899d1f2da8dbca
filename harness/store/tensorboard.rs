//! A file that TensorBoard reads: scalars over the steps of a run.
//!
//! A record is its length (u64, little-endian), the masked CRC-32C of those eight bytes, the data, and the masked
//! CRC-32C of the data (`tensorflow/core/lib/io/record_writer.h`). The data are an `Event` message of
//! `tensorflow/core/util/event.proto`, of which only the fields below are used.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How the names of such files begin; TensorBoard looks for it.
pub(super) const PREFIX: &str = "events.out.tfevents.";

/// An events file, written record by record, so that whoever reads it meanwhile sees whole ones.
#[derive(Debug)]
pub(super) struct EventFile(File);

impl EventFile {
    /// A new one in `folder`.
    pub(super) fn create(folder: &Path) -> io::Result<EventFile> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let (now, pid) = (now(), std::process::id());
        // Seconds, host and process, as TensorFlow names them; readers take the files of a folder in this order.
        let name = format!("{PREFIX}{:010}.{}.{pid}.{count}", now as u64, host());
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(folder.join(name))?;
        let mut file = EventFile(file);
        let mut event = Message::default();
        event.double(1, now);
        event.bytes(3, b"brain.Event:2");
        file.write(&event)?;
        Ok(file)
    }

    /// Adds the value of each tag at `step`. A value is kept in single precision, and may be no finite number.
    pub(super) fn scalars<'a>(
        &mut self,
        step: u64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> io::Result<()> {
        let mut summary = Message::default();
        for (tag, scalar) in values {
            let mut value = Message::default();
            value.bytes(1, tag.as_bytes());
            value.float(2, scalar as f32);
            summary.bytes(1, &value.0);
        }
        let mut event = Message::default();
        event.double(1, now());
        event.varint(2, step);
        event.bytes(5, &summary.0);
        self.write(&event)
    }

    fn write(&mut self, event: &Message) -> io::Result<()> {
        let length = (event.0.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.0.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length));
        record.extend(&event.0);
        record.extend(masked_crc(&event.0));
        self.0.write_all(&record)
    }
}

/// CRC-32C, rotated and offset, because data may hold checksums of their own.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
        .to_le_bytes()
}

/// A protocol buffer in the making; every method adds one field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn double(&mut self, field: u64, value: f64) {
        self.raw(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.raw(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.raw(field << 3);
        self.raw(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw(field << 3 | 2);
        self.raw(value.len() as u64);
        self.0.extend(value);
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// The name of this machine.
fn host() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the call writes at most the length it is given; the last byte stays zero.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
    match String::from_utf8_lossy(&name[..end]).replace('/', "_") {
        name if failed || name.is_empty() => "localhost".into(),
        name => name,
    }
}
