//! Whether the system bounds the memory of this process together with the commands that it starts.

use std::{fs, path::Path};

/// Where cgroups are mounted: the second version's own tree, that of both versions beside each other, and the first's.
const TREES: [(&str, &str, &str); 3] = [
    ("", "/sys/fs/cgroup", "memory.max"),
    ("", "/sys/fs/cgroup/unified", "memory.max"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// From here on a number means that there is no limit, as the first version spells it.
const NO_LIMIT: u64 = 1 << 60;

/// The bytes that this process and its commands may have together: the lowest limit of its cgroups. None where nobody set one.
pub fn memory_bound() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest(&own, |file| fs::read_to_string(file).ok())
}

/// `own` is the text of `/proc/self/cgroup`, `read` gives the text of a file.
fn lowest(own: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut limits = Vec::new();
    for line in own.lines() {
        // `4:memory:/path`, of the second version `0::/path`.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        for (controller, tree, file) in TREES {
            if !controllers.split(',').any(|one| one == controller) {
                continue;
            }
            for group in Path::new(path).ancestors() {
                let inside = group.strip_prefix("/").unwrap_or(group);
                let text = read(&Path::new(tree).join(inside).join(file));
                limits.extend(text.and_then(|text| text.trim().parse::<u64>().ok()));
            }
        }
    }
    limits.into_iter().filter(|limit| *limit < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(own: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let read = |file: &Path| {
            let found = files.iter().find(|(path, _)| Path::new(path) == file)?;
            Some(found.1.to_owned())
        };
        assert_eq!(lowest(own, read), expected, "{own}");
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let unit = "0::/system.slice/gatewright.service\n";
        check(
            unit,
            &[
                (
                    "/sys/fs/cgroup/system.slice/gatewright.service/memory.max",
                    "max\n",
                ),
                ("/sys/fs/cgroup/system.slice/memory.max", "4096\n"),
            ],
            Some(4096),
        );
        check(
            unit,
            &[
                (
                    "/sys/fs/cgroup/system.slice/gatewright.service/memory.max",
                    "1024\n",
                ),
                ("/sys/fs/cgroup/system.slice/memory.max", "4096\n"),
            ],
            Some(1024),
        );
        // In a container.
        check(
            "0::/\n",
            &[("/sys/fs/cgroup/memory.max", "512\n")],
            Some(512),
        );
        check(
            "9:pids:/x\n4:cpu,memory:/x\n0::/\n",
            &[("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "77\n")],
            Some(77),
        );
    }

    #[test]
    fn no_limit_is_none() {
        check(
            "0::/user.slice\n",
            &[("/sys/fs/cgroup/user.slice/memory.max", "max\n")],
            None,
        );
        check(
            "4:memory:/\n",
            &[(
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            )],
            None,
        );
        check("", &[], None);
        check(
            "nonsense\n9:pids:/x\n",
            &[("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "77\n")],
            None,
        );
    }
}
