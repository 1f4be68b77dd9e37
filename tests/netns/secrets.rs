//! What a core file of a running daemon holds: the keys in use, and no key of an SA or of a configuration that has gone.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::contract;
use crate::gateways::{Lab, Side};
use crate::lab::{Process, eventually, may_make_namespaces};

/// How long after the end of its owner a key may stand in memory.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Keys are looked for in pieces of this many bytes: half a key in a register is found too.
const PIECE: usize = 16;
const PAGE: usize = 4096;

/// The memory and the registers of a process, as root's debugger sees them.
fn core(pid: u32, folder: &Path) -> Vec<u8> {
    let prefix = folder.join("core");
    let output = Command::new("gcore").arg("-o").arg(&prefix).arg(pid.to_string()).output();
    let output = output.expect("gcore runs (is gdb installed?)");
    let path = folder.join(format!("core.{pid}"));
    let core = fs::read(&path).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    fs::remove_file(&path).expect("the core can be removed");
    core
}

/// The pieces of a key, and of its hexadecimal digits.
fn pieces(key: &[u8]) -> Vec<Vec<u8>> {
    let digits = hex::encode(key).into_bytes();
    [key, &digits]
        .into_iter()
        .flat_map(|key| {
            let whole = key.chunks_exact(PIECE);
            let last = key.last_chunk::<PIECE>().filter(|_| key.len() % PIECE != 0);
            whole.map(<[u8]>::to_vec).chain(last.map(|last| last.to_vec())).collect::<Vec<_>>()
        })
        .collect()
}

/// Keys by what they are: `SK_ei of 0123456789abcdef`, `ESP 0x01234567`, `PSK one`.
type Keys = BTreeMap<String, Vec<u8>>;

/// Which keys a core holds a piece of, and where.
fn found(core: &[u8], keys: &Keys) -> BTreeMap<String, Vec<usize>> {
    let mut by_start: BTreeMap<[u8; 2], Vec<(&str, Vec<u8>)>> = BTreeMap::new();
    let mut starts = vec![false; 1 << 16];
    for (name, key) in keys {
        for piece in pieces(key) {
            starts[usize::from(u16::from_le_bytes([piece[0], piece[1]]))] = true;
            by_start.entry([piece[0], piece[1]]).or_default().push((name, piece));
        }
    }
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    // Most pages are empty.
    let pages = core.chunks(PAGE).enumerate().filter(|(_, page)| *page != &[0; PAGE][..page.len()]);
    for at in pages.flat_map(|(n, page)| n * PAGE..n * PAGE + page.len()) {
        let Some(start) = core[at..].first_chunk::<2>() else { break };
        if starts[usize::from(u16::from_le_bytes(*start))] {
            for (name, piece) in &by_start[start] {
                if core[at..].starts_with(piece) {
                    found.entry((*name).to_owned()).or_default().push(at);
                }
            }
        }
    }
    found
}

/// Every key in a key log, by name. The salt is no key: it goes.
fn logged(folder: &Path) -> Keys {
    let mut keys = Keys::new();
    let mut insert = |name: String, digits: &str, salt: usize| {
        let key = hex::decode(digits.trim_start_matches("0x")).expect("hexadecimal digits");
        if !key.is_empty() {
            keys.insert(name, key[..key.len() - salt].to_vec());
        }
    };
    let salt = |algorithm: &str| if algorithm.contains("AES-CBC") { 0 } else { 4 };
    let read = |file: &str| fs::read_to_string(folder.join(file)).expect("a key log");
    let mut spi = String::new();
    for line in read("ikev2_decryption_table").lines() {
        if let Some(rest) = line.strip_prefix("# SK_d, SK_pi, SK_pr: ") {
            let names = ["SK_d", "SK_pi", "SK_pr"];
            names.iter().zip(rest.split(' ')).for_each(|(name, key)| insert(format!("{name} of {spi}"), key, 0));
            continue;
        }
        let fields: Vec<&str> = line.trim_start_matches("# ").split(',').collect();
        spi = fields[0].to_owned();
        for (name, field, salt) in
            [("SK_ei", 2, salt(fields[4])), ("SK_er", 3, salt(fields[4])), ("SK_ai", 5, 0), ("SK_ar", 6, 0)]
        {
            insert(format!("{name} of {spi}"), fields[field], salt);
        }
    }
    for line in read("esp_sa").lines() {
        let fields: Vec<&str> = line.trim_start_matches("# ").split(',').map(|field| field.trim_matches('"')).collect();
        insert(format!("ESP {}", fields[3]), fields[5], salt(fields[4]));
        insert(format!("ESP integrity {}", fields[3]), fields[7], 0);
    }
    keys
}

/// A core holds every key of `new`, as otherwise its silence proves nothing, and none of `old`, within the time that these
/// may take.
fn holds_only(pid: u32, new: &Keys, old: &Keys, folder: &Path) {
    let begin = Instant::now();
    loop {
        let begun = begin.elapsed();
        let core = core(pid, folder);
        let in_use = found(&core, new);
        let missing: Vec<&String> = new.keys().filter(|name| !in_use.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?} are in use and not found");
        let found = found(&core, old);
        if found.is_empty() {
            return;
        }
        let around = |at: &usize| core[at.saturating_sub(96)..core.len().min(at + 96)].escape_ascii().to_string();
        let shown: BTreeMap<_, Vec<_>> =
            found.iter().map(|(name, at)| (name, at.iter().map(around).collect())).collect();
        assert!(begun < GONE_WITHIN, "still there after {begun:?}: {found:#x?}, {shown:#?}");
    }
}

/// Names of keys that are stored as such while they are used; of an HMAC's key only what was made of it.
fn stored(name: &str) -> bool {
    ["SK_d", "SK_e", "ESP 0x", "PSK"].iter().any(|start| name.starts_with(start))
}

/// The keys of `now` that are not in `before`.
fn newer(now: &Keys, before: &Keys) -> Keys {
    now.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(name, key)| (name.clone(), key.clone())).collect()
}

/// Without a piece in common, with each other or with any text of the program.
const PSKS: [&str; 3] = [
    "Jq8Xw1ZmR5tYp0Lc7NbA2sHf6GuEoiK3",
    "zT7vQn3cWb9xKd5mRf1pLg8hJs2yAe4uNi6oXa0tVq_second_much_longer_Bk7rEw3zUc9jPm5sDh1fGl8n",
    "4f1c0aMixture-of_signs~and!digits?9e77d2",
];

/// A folder that becomes Wireshark's own where it looks for configurations in the folder above.
struct KeyLog(TempDir);

impl KeyLog {
    fn path(&self) -> PathBuf {
        self.0.path().join("wireshark")
    }
}

/// Two gateways whose keys the first one logs.
struct Run {
    lab: Lab,
    log: KeyLog,
    configurations: [String; 2],
}

impl Run {
    fn up(ike: &str, esp: &str) -> Self {
        let mut configurations = [String::new(), String::new()];
        let log = KeyLog(tempfile::tempdir().expect("a folder"));
        let lab = Lab::up_with(|a, b| {
            configurations = [format!("key_log = \"{}\"\n{a}", log.path().display()), b.to_owned()];
            let [a, b] = [0, 1].map(|side| configured(&configurations[side], PSKS[0], ike, esp));
            (a, b)
        });
        Self { lab, log, configurations }
    }

    fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.lab.a, &mut self.lab.b]
    }

    /// Another pre-shared key and other algorithms, by a reload at both ends.
    fn reload(&mut self, psk: &str, ike: &str, esp: &str) {
        let configurations = self.configurations.clone();
        let spi = self.lab.a.spi();
        for (side, configuration) in self.sides().into_iter().zip(configurations).rev() {
            side.gatewayd.configure(&configured(&configuration, psk, ike, esp));
            side.gatewayd.ask(&["reload"]).expect("the reload is taken");
        }
        eventually(Duration::from_secs(10), "other SAs after the reload", || self.lab.a.spi() != spi);
        self.settled();
    }

    fn rekey(&mut self) {
        let spi = self.lab.a.spi();
        self.lab.a.gatewayd.ask(&["rekey", "other"]).expect("the rekey is taken on");
        eventually(Duration::from_secs(10), "other SAs after the rekey", || self.lab.a.spi() != spi);
        self.settled();
    }

    /// Established with one pair of Child SAs at both ends: what was replaced has ended; packets pass.
    fn settled(&mut self) {
        self.lab.established();
        self.lab.reachable();
        for side in self.sides() {
            let pairs =
                || side.gatewayd.ask(&["connections"]).and_then(|all| all[0]["child_sas"].as_array().map(Vec::len));
            eventually(Duration::from_secs(15), "one pair of Child SAs", || pairs() == Some(1));
        }
        self.lab.reachable();
    }

    /// The keys of both ends are gone where they are old, and stand where they are new.
    fn check(&mut self, old: &Keys, new: &Keys) {
        let folder = self.lab.folder.path().to_owned();
        let new: Keys = new.iter().filter(|(name, _)| stored(name)).map(|(n, k)| (n.clone(), k.clone())).collect();
        for side in self.sides() {
            println!("gateway {}", side.name);
            holds_only(side.gatewayd.process().id(), &new, old, &folder);
        }
    }
}

fn configured(configuration: &str, psk: &str, ike: &str, esp: &str) -> String {
    let algorithms = format!("psk = \"{psk}\"\nike = \"{ike}\"\nesp = \"{esp}\"\nliveness = \"5s\"\n");
    configuration.replace("psk = \"a key for this test only\"\n", &algorithms)
}

fn psk(text: &str) -> Keys {
    Keys::from([(format!("PSK {text}"), text.as_bytes().to_vec())])
}

#[test]
fn a_core_holds_the_keys_in_use_and_none_that_have_gone() {
    if !may_make_namespaces("a_core_holds_the_keys_in_use_and_none_that_have_gone") {
        return;
    }
    let mut run = Run::up("aes128gcm16-prfsha256-x25519", "aes128gcm16-x25519");
    run.settled();
    let mut old = logged(&run.log.path());
    // SK_p served in IKE_AUTH only.
    let (authentication, mut new): (Keys, Keys) =
        old.clone().into_iter().partition(|(name, _)| name.starts_with("SK_p"));
    new.extend(psk(PSKS[0]));
    run.check(&authentication, &new);

    for (n, (ike, esp)) in [
        ("chacha20poly1305-prfsha512-ecp384", "chacha20poly1305"),
        ("aes256-sha384-prfsha384-modp2048", "aes256-sha256"),
        ("aes256gcm16-prfsha256-modp4096", "aes256gcm16-ecp256"),
    ]
    .into_iter()
    .enumerate()
    {
        run.rekey();
        let all = logged(&run.log.path());
        run.check(&old, &newer(&all, &old).into_iter().filter(|(name, _)| !name.starts_with("SK_p")).collect());

        old = all;
        old.extend(psk(PSKS[n % 3]));
        let next = PSKS[(n + 1) % 3];
        old.remove(&format!("PSK {next}"));
        run.reload(next, ike, esp);
        let all = logged(&run.log.path());
        let mut new = newer(&all, &old);
        new.retain(|name, _| !name.starts_with("SK_p"));
        new.extend(psk(next));
        run.check(&old, &new);
        old = all;
    }

    run.lab.a.gatewayd.ask(&["down", "other"]).expect("down is taken on");
    eventually(Duration::from_secs(5), "it is down", || run.lab.a.state() == "down");
    run.check(&logged(&run.log.path()), &psk(PSKS[0]));
}

/// The values of a field in the packets of a filter, as tshark reads the wire so far with the key log.
fn tshark(run: &Run, filter: &str, field: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.env("XDG_CONFIG_HOME", run.log.0.path()).arg("-r").arg(run.lab.folder.path().join("wan.pcap"));
    command.args(["-o", "esp.enable_encryption_decode:TRUE", "-Y", filter, "-T", "fields", "-e", field]);
    let output = command.output().expect("tshark runs (is it installed?)");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn tshark_reads_a_tunnel_with_the_key_log() {
    if !may_make_namespaces("tshark_reads_a_tunnel_with_the_key_log") {
        return;
    }
    for (ike, esp) in
        [("aes256gcm16-prfsha256-x25519", "aes128gcm16"), ("aes128-sha256-prfsha256-modp2048", "aes256-sha512")]
    {
        let mut run = Run::up(ike, esp);
        run.settled();
        eventually(Duration::from_secs(10), &format!("the pings are read in {esp}"), || {
            tshark(&run, "icmp.type == 8", "ip.dst").iter().any(|addresses| addresses.contains("10.2.0.10"))
        });
        // Shared Key Message Integrity Code (RFC 7296 3.8), of both ends.
        let methods = tshark(&run, "isakmp.auth.method", "isakmp.auth.method");
        assert_eq!(methods, ["2", "2"], "IKE_AUTH is read in {ike}");
    }
}

#[test]
fn cores_of_cend_and_of_its_gatewayd_hold_the_cloud_s_keys_and_no_former_ones() {
    if !may_make_namespaces("cores_of_cend_and_of_its_gatewayd_hold_the_cloud_s_keys_and_no_former_ones") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut lab = contract::Lab::up();
    let check = |lab: &mut contract::Lab, new: &[&str], old: &[&str]| {
        let keys = |texts: &[&str]| texts.iter().flat_map(|text| psk(text)).collect();
        for pid in [lab.cend.as_ref().expect("cend").id(), lab.gatewayd.process().id()] {
            println!("process {pid}");
            holds_only(pid, &keys(new), &keys(old), folder.path());
        }
    };
    let more = [("RemoteSubnet", "10.1.1.0/24"), ("EffectImmediately", "true")];
    let connection = lab.connect("203.0.113.2", &json!({"Psk": PSKS[0]}), &more);
    let stays = lab.connect("203.0.113.78", &json!({"Psk": PSKS[1]}), &[("RemoteSubnet", "10.8.0.0/24")]);
    let owners = [(&*connection, "cend"), (&*stays, "cend"), ("branch", "file")];
    lab.has_owners(&owners);
    check(&mut lab, &PSKS[..2], &[]);

    let ike = json!({"Psk": PSKS[2]}).to_string();
    lab.call("ModifyVpnConnectionAttribute", &[("VpnConnectionId", &connection), ("IkeConfig", &ike)]);
    check(&mut lab, &PSKS[1..], &PSKS[..1]);

    lab.call("DescribeVpnConnection", &[("VpnConnectionId", &connection)]);
    lab.call("DeleteVpnConnection", &[("VpnConnectionId", &connection)]);
    lab.has_owners(&owners[1..]);
    check(&mut lab, &PSKS[1..2], &[PSKS[0], PSKS[2]]);
}

#[test]
fn within_a_limit_only_pages_with_keys_are_locked_and_no_core_file_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, state) = (folder.path().join("log"), folder.path().join("state"));
    let mut command = Command::new("prlimit");
    command.args(["--memlock=8388608:8388608", "--core=1000000:1000000"]).arg(env!("CARGO_BIN_EXE_cend"));
    command.args(["--listen", "127.0.0.1:0", "--access-key", "a:b", "--state"]).arg(&state);
    let cend = Process::spawn(command, &log);
    let text = || fs::read_to_string(&log).unwrap_or_default();
    eventually(Duration::from_secs(5), "cend listens", || text().contains("cend listens on "));
    let process = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", cend.id())).expect("a process");
    let status = process("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("a line");
    let locked: u64 = locked.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!((4..=1024).contains(&locked), "{locked} KiB, where all of it would make allocations fail");
    assert!(text().contains("only pages with keys are locked"), "{}", text());
    let limits = process("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}
