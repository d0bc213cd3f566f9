//! What a test shows: what became of the records, and what it took.

use std::ops::Range;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::HumanBytes;
use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_plugin_host::ModuleInfo;
use millrace_plugin_host::packing::OutputBatch;
use millrace_protocol::batch::Record;
use serde_json::{Map, Value, json};

use super::bench::{Done, Step, Stopped};
use crate::OutputFormat;
use crate::output::print;
use crate::plugin::records::FileRecord;
use crate::plugin::text::{bytes, indented, set_bytes};
use crate::topic::count;

/// All steps together.
pub struct Report {
    module: ModuleInfo,
    outputs: Vec<Output>,
    partitions: Vec<u32>,
    deliveries: Vec<(Range<usize>, String)>,
    failure: Option<(Range<usize>, Stopped)>,
    cost: Cost,
}

struct Output {
    topic: String,
    batches: Vec<OutputBatch>,
}

/// What the records took.
#[derive(Debug, Default)]
struct Cost {
    records_in: usize,
    records_out: u64,
    batches: usize,
    /// Time of a record, in each batch that succeeded.
    per_record: Vec<Duration>,
    /// Of all calls, without starting the instance.
    total: Duration,
    started_in: Option<Duration>,
    memory_peak: usize,
}

impl Report {
    pub fn new(module: ModuleInfo, outputs: Vec<String>) -> Self {
        let outputs = outputs.into_iter().map(|topic| Output { topic, batches: Vec::new() }).collect();
        Self {
            module,
            outputs,
            partitions: Vec::new(),
            deliveries: Vec::new(),
            failure: None,
            cost: Cost::default(),
        }
    }

    pub fn add(&mut self, step: Step) {
        self.cost.add(&step);
        match step.outcome {
            Ok(Done::Transformed(batches)) => {
                for batch in batches {
                    // The host has checked the index.
                    if let Some(output) = self.outputs.get_mut(batch.output as usize) {
                        output.batches.push(batch);
                    }
                }
            }
            Ok(Done::Partitioned(chosen)) => self.partitions.extend(chosen),
            Ok(Done::Delivered { token }) => self.deliveries.push((step.records, token)),
            Err(stopped) => self.failure = Some((step.records, stopped)),
        }
    }

    /// Prints everything; a failure is the command's own.
    pub fn print(self, records: &[FileRecord], format: OutputFormat) -> anyhow::Result<()> {
        let (json, text) = match format {
            OutputFormat::Json => (self.to_json()?, String::new()),
            OutputFormat::Text => (Value::Null, self.to_text(records)?),
        };
        print(format, &json, || text)?;
        let Some((failed, stopped)) = self.failure else { return Ok(()) };
        if let (Some(backtrace), OutputFormat::Text) = (&stopped.backtrace, format) {
            eprint!("{}", indented(backtrace, 2));
        }
        Err(anyhow!("records {} to {} of the file: {}", failed.start, failed.end - 1, stopped.message))
    }

    fn to_text(&self, records: &[FileRecord]) -> anyhow::Result<String> {
        let mut text = String::new();
        for output in &self.outputs {
            let shown: Vec<String> = output.records(record_text)?;
            text.push_str(&format!("output '{}': {}\n", output.topic, count(shown.len(), "record")));
            text.extend(shown);
        }
        for (partition, record) in self.partitions.iter().zip(records) {
            text.push_str(&format!(
                "partition {partition}  {}  {}\n",
                bytes(record.key.as_deref(), "-"),
                bytes(record.value.as_deref(), "null")
            ));
        }
        for (delivered, token) in &self.deliveries {
            text.push_str(&format!(
                "delivered records {} to {}, token {token}\n",
                delivered.start,
                delivered.end - 1
            ));
        }
        text.push_str(&self.cost.to_text());
        Ok(text)
    }

    fn to_json(&self) -> anyhow::Result<Value> {
        let mut outputs = Vec::new();
        for output in &self.outputs {
            outputs.extend(output.records(|record| record_json(&output.topic, record))?);
        }
        let deliveries = self
            .deliveries
            .iter()
            .map(|(range, token)| json!({ "first": range.start, "records": range.len(), "token": token }));
        let failure = self.failure.as_ref().map(|(range, stopped)| {
            json!({
                "first": range.start, "records": range.len(),
                "message": stopped.message, "backtrace": stopped.backtrace,
            })
        });
        Ok(json!({
            "module": self.module,
            "outputs": outputs,
            "partitions": self.partitions,
            "deliveries": deliveries.collect::<Vec<_>>(),
            "failure": failure,
            "summary": self.cost.to_json(),
        }))
    }
}

impl Output {
    fn records<T>(&self, show: impl Fn(&Record<'_>) -> T) -> anyhow::Result<Vec<T>> {
        let mut shown = Vec::new();
        for batch in &self.batches {
            let records = batch.batch.records(BATCH_BYTES_MAX)?;
            for record in &records {
                shown.push(show(&record?));
            }
        }
        Ok(shown)
    }
}

fn record_text(record: &Record<'_>) -> String {
    let mut text = format!("  {}  {}", bytes(record.key, "-"), bytes(record.value, "null"));
    for (index, header) in record.headers.iter().enumerate() {
        let before = if index == 0 { "  " } else { "," };
        text.push_str(&format!("{before}{}={}", header.key_text(), bytes(header.value, "null")));
    }
    text.push('\n');
    text
}

fn record_json(topic: &str, record: &Record<'_>) -> Value {
    let headers = record.headers.iter().map(|header| {
        let mut object = Map::from_iter([("name".to_owned(), json!(header.key_text()))]);
        set_bytes(&mut object, "value", header.value);
        Value::Object(object)
    });
    let mut object = Map::from_iter([("topic".to_owned(), json!(topic))]);
    set_bytes(&mut object, "key", record.key);
    set_bytes(&mut object, "value", record.value);
    object.insert("headers".to_owned(), headers.collect());
    object.insert("timestamp".to_owned(), json!(record.timestamp_ms));
    Value::Object(object)
}

impl Cost {
    fn add(&mut self, step: &Step) {
        let usage = &step.usage;
        let records = step.records.len();
        let elapsed = usage.elapsed.saturating_sub(usage.starting);
        self.memory_peak = self.memory_peak.max(usage.memory_peak);
        // A call that fails as it starts is all starting.
        if usage.cold_start && usage.starting < usage.elapsed {
            self.started_in.get_or_insert(usage.starting);
        }
        self.records_in += records;
        self.records_out += usage.output_records;
        self.total += elapsed;
        self.batches += 1;
        if step.outcome.is_err() {
            return;
        }
        self.per_record.push(elapsed / u32::try_from(records.max(1)).unwrap_or(u32::MAX));
    }

    /// `None` if no batch succeeded.
    fn median(&self) -> Option<Duration> {
        let mut sorted = self.per_record.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    fn to_text(&self) -> String {
        let batches = if self.batches == 1 { "batch" } else { "batches" };
        let records = count(self.records_in, "record");
        let mut text = format!("{records} in {} {batches}, {} out\n", self.batches, self.records_out);
        if let Some(median) = self.median() {
            let total = self.total;
            text.push_str(&format!("{median:.1?} a record (median of the batches), {total:.1?} in all\n"));
        }
        text.push_str(&format!("memory {} at most", HumanBytes(self.memory_peak as u64)));
        if let Some(started_in) = self.started_in {
            text.push_str(&format!(", instance started in {started_in:.1?}"));
        }
        text.push('\n');
        text
    }

    fn to_json(&self) -> Value {
        json!({
            "records_in": self.records_in,
            "records_out": self.records_out,
            "batches": self.batches,
            "nanoseconds_per_record": self.median().map(nanos),
            "total_nanoseconds": nanos(self.total),
            "instance_start_nanoseconds": self.started_in.map(nanos),
            "memory_peak_bytes": self.memory_peak,
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use millrace_plugin_host::Usage;

    use super::*;

    #[test]
    fn the_cost_leaves_out_what_starting_takes() {
        let mut cost = Cost::default();
        for (records, elapsed, starting) in [(0..10, 60, 50), (10..20, 30, 0), (20..21, 2, 0)] {
            cost.add(&Step {
                records,
                usage: Usage {
                    elapsed: Duration::from_micros(elapsed),
                    starting: Duration::from_micros(starting),
                    cold_start: starting > 0,
                    memory_peak: 3 << 20,
                    output_records: 5,
                    ..Usage::default()
                },
                outcome: Ok(Done::Partitioned(Vec::new())),
            });
        }
        assert_eq!(
            cost.to_text(),
            "21 records in 3 batches, 15 out\n2.0µs a record (median of the batches), 42.0µs in all\n\
             memory 3.00 MiB at most, instance started in 50.0µs\n"
        );
        assert_eq!(cost.to_json()["nanoseconds_per_record"], 2000);
    }
}
