//! A partitioner that goes by a header: the tenant, the region, the shard.
//!
//! | setting | meaning |
//! |---|---|
//! | `header` | the header's name; where a record has it twice, the last counts |
//! | `map.<value>` | the partition for records whose header has this value |
//! | `missing` | what becomes of records without the header: `key`, by the hash of their key, which is the default; `error`; or a partition's number |
//!
//! Values that are not mapped are spread by their hash.

use std::collections::BTreeMap;

use millrace_plugin::{Context, Error, Partitioner, Record, Result, stable_hash};

/// The header and where its values lead.
#[derive(Debug)]
pub struct ByHeader {
    header: String,
    map: BTreeMap<Vec<u8>, u32>,
    missing: Missing,
}

#[derive(Clone, Copy, Debug)]
enum Missing {
    ByKey,
    Error,
    To(u32),
}

#[millrace_plugin::partitioner]
impl Partitioner for ByHeader {
    fn start(context: &Context) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (value, partition) in context.with_prefix("map.") {
            map.insert(value.as_bytes().to_vec(), number(&format!("map.{value}"), partition)?);
        }
        let missing = match context.get("missing").unwrap_or("key") {
            "key" => Missing::ByKey,
            "error" => Missing::Error,
            partition => Missing::To(number("missing", partition)?),
        };
        Ok(Self { header: context.require("header")?.to_owned(), map, missing })
    }

    fn partition(&self, record: &Record<'_>, partitions: u32) -> Result<u32> {
        let hashed = |bytes: &[u8]| (stable_hash(bytes) % u64::from(partitions)) as u32;
        Ok(match (record.header(&self.header), self.missing) {
            (Some(value), _) => self.map.get(value).copied().unwrap_or_else(|| hashed(value)),
            (None, Missing::ByKey) => hashed(record.key().or(record.value()).unwrap_or_default()),
            (None, Missing::To(partition)) => partition,
            (None, Missing::Error) => {
                return Err(Error::new(format!("the record has no header `{}`", self.header)));
            }
        })
    }
}

fn number(setting: &str, text: &str) -> Result<u32> {
    text.parse()
        .map_err(|_| Error::new(format!("the setting `{setting}` is `{text}`, which is no partition")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_plugin::testing::{Input, Setup};

    #[test]
    fn values_lead_to_partitions() {
        let setup = Setup::new().config("header", "tenant").config("map.acme", "3");
        let plugin = setup.partitioner::<ByHeader>().expect("it starts");
        let tenant = |name: &str| Input::value("v").header("tenant", "old").header("tenant", name);
        let chosen =
            plugin.run(&[tenant("acme"), tenant("b"), tenant("b"), tenant("acme")], 8).expect("chosen");
        assert_eq!((chosen[0], chosen[3]), (3, 3));
        assert_eq!(chosen[1], chosen[2]);
        let error = plugin.run(&[tenant("acme")], 2).expect_err("there is no partition 3");
        assert!(error.message().contains("partition 3 was chosen, but there are 2"), "{error}");
    }

    #[test]
    fn what_lacks_the_header_goes_as_configured() {
        let records: Vec<Input> = (0..50).map(|key| Input::value("v").key(format!("k{key}"))).collect();
        let setup = Setup::new().config("header", "tenant");
        let by_key = setup.partitioner::<ByHeader>().expect("it starts").run(&records, 4).expect("chosen");
        assert!((0..4).all(|partition| by_key.contains(&partition)));
        let to = setup.clone().config("missing", "2").partitioner::<ByHeader>().expect("it starts");
        assert!(to.run(&records, 4).expect("chosen").iter().all(|partition| *partition == 2));
        let error = setup.config("missing", "error").partitioner::<ByHeader>().expect("it starts");
        assert!(error.run(&records, 4).expect_err("refused").message().contains("no header `tenant`"));
    }
}
