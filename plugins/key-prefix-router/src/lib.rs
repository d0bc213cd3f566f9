//! A partitioner that gives keys with a common beginning their own partitions.
//!
//! | setting | meaning |
//! |---|---|
//! | `route.<prefix>` | the partitions for keys that begin with `<prefix>`: numbers and ranges, as in `0-3,7`; the longest prefix that fits counts |
//! | `default` | the partitions for all other records; all partitions if absent |
//!
//! Within its partitions a key always gets the same one. Records without a key are spread by their value.

use millrace_plugin::{Context, Error, Partitioner, Record, Result, stable_hash};

/// Prefixes, the longest first, and the partitions of each.
#[derive(Debug)]
pub struct KeyPrefixRouter {
    routes: Vec<(Vec<u8>, Vec<u32>)>,
    default: Option<Vec<u32>>,
}

#[millrace_plugin::partitioner]
impl Partitioner for KeyPrefixRouter {
    fn start(context: &Context) -> Result<Self> {
        let mut routes = Vec::new();
        for (prefix, partitions) in context.with_prefix("route.") {
            routes.push((prefix.as_bytes().to_vec(), parse(&format!("route.{prefix}"), partitions)?));
        }
        if routes.is_empty() {
            return Err(Error::new("the deployment has no setting `route.<prefix>`"));
        }
        routes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let default = context.get("default").map(|partitions| parse("default", partitions)).transpose()?;
        Ok(Self { routes, default })
    }

    fn partition(&self, record: &Record<'_>, partitions: u32) -> Result<u32> {
        let key = record.key().unwrap_or_default();
        let route = self.routes.iter().find(|(prefix, _)| record.key().is_some() && key.starts_with(prefix));
        let hash = stable_hash(record.key().or(record.value()).unwrap_or_default());
        let Some(chosen) = route.map(|(_, partitions)| partitions).or(self.default.as_ref()) else {
            return Ok((hash % u64::from(partitions)) as u32);
        };
        let number = chosen[(hash % chosen.len() as u64) as usize];
        if number >= partitions {
            return Err(Error::new(format!(
                "a route leads to partition {number}, but the topic has {partitions} partitions"
            )));
        }
        Ok(number)
    }
}

/// Numbers and ranges, separated by commas.
fn parse(setting: &str, text: &str) -> Result<Vec<u32>> {
    /// More than any topic has.
    const PARTITIONS_MAX: usize = 100_000;
    let wrong =
        || Error::new(format!("the setting `{setting}` is `{text}`; expected partitions, as in `0-3,7`"));
    let mut partitions = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().map_err(|_| wrong())?;
        let last: u32 = last.trim().parse().map_err(|_| wrong())?;
        if first > last || (last - first) as usize >= PARTITIONS_MAX {
            return Err(wrong());
        }
        partitions.extend(first..=last);
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_plugin::testing::{Input, Setup};

    #[test]
    fn the_longest_prefix_decides() {
        let setup =
            Setup::new().config("route.eu-", "0-1").config("route.eu-north-", "2").config("default", "5,7");
        let plugin = setup.partitioner::<KeyPrefixRouter>().expect("it starts");
        let keys = (0..100).flat_map(|number| {
            ["eu-", "eu-north-", "us-"].map(|prefix| Input::value("v").key(format!("{prefix}{number}")))
        });
        let records: Vec<Input> = keys.collect();
        let chosen = plugin.run(&records, 8).expect("it chooses");
        assert_eq!(chosen, plugin.run(&records, 8).expect("it chooses again"));
        for three in chosen.chunks(3) {
            assert!(three[0] < 2 && three[1] == 2 && [5, 7].contains(&three[2]), "{three:?}");
        }
        assert!((0..2).chain([5, 7]).all(|number| chosen.contains(&number)), "every partition is used");
        let keyless = plugin.run(&[Input::value("eu-1")], 8).expect("it chooses");
        assert!([5, 7].contains(&keyless[0]), "only keys have prefixes");
    }

    #[test]
    fn a_partition_that_does_not_exist_is_an_error() {
        let plugin = Setup::new().config("route.a", "9").partitioner::<KeyPrefixRouter>().expect("it starts");
        let error = plugin.run(&[Input::value("v").key("a")], 4).expect_err("there is no partition 9");
        assert!(error.message().contains("partition 9, but the topic has 4"), "{error}");
        assert!(plugin.run(&[Input::value("v").key("b")], 4).is_ok());
    }

    #[test]
    fn settings_are_checked() {
        for text in ["", "a", "3-1", "1,,2", "0-4294967295"] {
            let setup = Setup::new().config("route.x", text);
            let error = setup.partitioner::<KeyPrefixRouter>().map(drop).expect_err(text);
            assert!(error.message().starts_with("the setting `route.x` is"), "{error}");
        }
        assert!(Setup::new().partitioner::<KeyPrefixRouter>().is_err());
    }
}
