//! `gatewayctl cloud`, against a real cend, as a person and a script use it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Cend, KEY_ID, KEY_SECRET, venv};

const GATEWAYCTL: &str = env!("CARGO_BIN_EXE_gatewayctl");

/// `gatewayctl cloud` with these words, and nothing in the environment but the key.
fn gatewayctl(words: &[&str]) -> Command {
    let mut command = Command::new(GATEWAYCTL);
    command.arg("cloud").args(words).env_clear();
    command.env("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID).env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET);
    command
}

fn run(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("gatewayctl runs");
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The answer of a call that succeeds.
fn answer(words: &[&str]) -> Value {
    let (code, out, err) = run(gatewayctl(words));
    assert_eq!(code, Some(0), "{words:?}: {err}{out}");
    serde_json::from_str(&out).unwrap()
}

/// What is told of one that fails.
fn told(words: &[&str]) -> String {
    told_with(1, words)
}

fn told_with(expected: i32, words: &[&str]) -> String {
    let (code, out, err) = run(gatewayctl(words));
    assert_eq!(code, Some(expected), "{words:?}: {err}{out}");
    err
}

#[test]
fn the_region_is_that_of_the_option_unless_the_action_names_one() {
    let cend = Cend::start();
    let at = ["--endpoint", &cend.endpoint];
    let made = |region: &str| {
        let words = [&at[..], &["--region", region, "vpc", "CreateVpc", "--CidrBlock", "10.0.0.0/8"]].concat();
        answer(&words)["VpcId"].as_str().unwrap().to_owned()
    };
    let (here, there) = (made("cn-hangzhou"), made("eu-central-1"));
    let listed = |words: &[&str]| {
        let answer = answer(&[&at[..], &["--region", "cn-hangzhou", "vpc", "DescribeVpcs"], words].concat());
        answer["Vpcs"]["Vpc"].as_array().unwrap().iter().map(|vpc| vpc["VpcId"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), [here.as_str()]);
    assert_eq!(listed(&["--RegionId", "eu-central-1"]), [there.as_str()]);
    // An action without that parameter is called without it.
    answer(&[&at[..], &["--region", "cn-hangzhou", "sts", "GetCallerIdentity"]].concat());
}

#[test]
fn a_profile_of_the_clouds_command_line_gives_key_region_and_endpoint() {
    let cend = Cend::start();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".aliyun/config.json");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let profile = serde_json::json!({"current": "default", "profiles": [{
        "name": "lab", "mode": "AK", "access_key_id": KEY_ID, "access_key_secret": KEY_SECRET,
        "region_id": "cn-beijing", "output_format": "json", "language": "en", "endpoint": cend.endpoint,
    }]});
    fs::write(&file, profile.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let with = |profile: &str| {
        let mut command = Command::new(GATEWAYCTL);
        command.args(["cloud", "--profile", profile, "vpc", "DescribeVpcs"]).env_clear().env("HOME", home.path());
        run(command)
    };
    let (code, out, err) = with("lab");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["TotalCount"], 0);
    let (code, _, err) = with("other");
    assert!(code == Some(1) && err.contains("has no profile other; it has: lab"), "{err}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = with("lab");
    assert!(code == Some(1) && err.contains("chmod 600") && !err.contains(KEY_SECRET), "{err}");
}

#[test]
fn all_pages_come_as_one_list() {
    let cend = Cend::start();
    let at = ["--endpoint", &cend.endpoint, "--region", "cn-hangzhou"];
    let mut made: Vec<String> = (0..23)
        .map(|_| {
            answer(&[&at[..], &["vpc", "CreateVpc", "--CidrBlock", "10.0.0.0/8"]].concat())["VpcId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    made.sort_unstable();
    let all = |words: &[&str]| answer(&[&at[..], &["--all-pages", "vpc"], words].concat());
    for words in [&["DescribeVpcs"][..], &["DescribeVpcs", "--PageSize", "7"]] {
        let answer = all(words);
        let mut ids: Vec<_> =
            answer["Vpcs"]["Vpc"].as_array().unwrap().iter().map(|vpc| vpc["VpcId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, made, "{words:?}");
        assert_eq!(answer["TotalCount"], 23);
        assert!(answer.get("PageNumber").is_none() && answer.get("PageSize").is_none(), "it is no page: {answer}");
    }

    // Lists that go on from a token.
    let one = answer(&[&at[..], &["vpc", "DescribeVpcs", "--VpcId", &made[0]]].concat());
    let table = one["Vpcs"]["Vpc"][0]["RouterTableIds"]["RouterTableIds"][0].as_str().unwrap().to_owned();
    for third in 0..7 {
        let block = format!("10.{third}.0.0/16");
        let vswitch = ["vpc", "CreateVSwitch", "--VpcId", &made[0], "--ZoneId", "cn-hangzhou-b", "--CidrBlock", &block];
        answer(&[&at[..], &vswitch].concat());
    }
    let whole = all(&["DescribeRouteEntryList", "--RouteTableId", &table])["RouteEntrys"]["RouteEntry"].clone();
    let pieces = all(&["DescribeRouteEntryList", "--RouteTableId", &table, "--MaxResult", "3"]);
    assert_eq!(pieces["RouteEntrys"]["RouteEntry"], whole);
    assert!(whole.as_array().unwrap().len() >= 7 && pieces.get("NextToken").is_none(), "{pieces}");

    let refused = |code, words: &[&str]| told_with(code, &[&at[..], &["--all-pages", "vpc"], words].concat());
    assert!(refused(2, &["DescribeVpcAttribute", "--VpcId", &made[0]]).contains("has no pages"));
    assert!(refused(2, &["DescribeVpcs", "--PageNumber", "2"]).contains("asks for one page"));
    assert!(refused(1, &["DescribeVpcs", "--RegionId", "mars-1"]).contains("InvalidRegionId.NotFound"));
}

#[test]
fn a_call_is_repeated_until_the_answer_is_the_one() {
    let cend = Cend::start();
    let at = ["--endpoint", &cend.endpoint, "--region", "cn-hangzhou"];
    let vpc = answer(&[&at[..], &["vpc", "CreateVpc", "--CidrBlock", "10.0.0.0/8"]].concat())["VpcId"]
        .as_str()
        .unwrap()
        .to_owned();
    let wait = |condition: &str, seconds: &str| {
        let waiting =
            ["--wait-until", condition, "--wait-seconds", seconds, "vpc", "DescribeVpcAttribute", "--VpcId", &vpc];
        run(gatewayctl(&[&at[..], &waiting].concat()))
    };
    let change = |words: &[&str]| {
        let words: Vec<String> = at.iter().chain(words).map(|word| (*word).to_owned()).collect();
        thread::spawn(move || {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, which waits for its turn")]
            thread::sleep(Duration::from_millis(1500));
            answer(&words.iter().map(String::as_str).collect::<Vec<_>>());
        })
    };
    let started = Instant::now();
    let renamed = change(&["vpc", "ModifyVpcAttribute", "--VpcId", &vpc, "--VpcName", "renamed"]);
    let (code, out, err) = wait("VpcName=renamed", "30");
    assert!(code == Some(0) && out.contains("\"renamed\""), "{out}{err}");
    assert!((1..10).contains(&started.elapsed().as_secs()), "it waited {:?}", started.elapsed());
    renamed.join().unwrap();

    let (code, out, err) = wait("VpcName=other", "2");
    assert!(code == Some(3) && out.is_empty(), "{code:?} {out}");
    assert!(err.contains("waited 2 s for VpcName=other; VpcName is renamed"), "{err}");
    let (code, _, err) = wait("Nowhere=x", "1");
    assert!(code == Some(3) && err.contains("the answer has no Nowhere"), "{err}");
    // A refusal ends it, unless it is what is waited for.
    let deleted = change(&["vpc", "DeleteVpc", "--VpcId", &vpc]);
    let (code, out, err) = wait("Code=InvalidVpcId.NotFound", "30");
    assert!(code == Some(0) && out.contains("InvalidVpcId.NotFound"), "{out}{err}");
    deleted.join().unwrap();
    let (code, _, err) = wait("Status=Available", "30");
    assert!(code == Some(1) && err.contains("InvalidVpcId.NotFound"), "{err}");
    assert_eq!(wait("Status", "1").0, Some(2), "no value");
}

#[test]
fn why_there_is_no_answer_is_told() {
    let cend = Cend::start();
    let call = ["sts", "GetCallerIdentity"];
    let at = |endpoint: &str| told(&[&["--endpoint", endpoint][..], &call].concat());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = at(&free.to_string());
    assert!(refused.contains("refuses connections: nothing listens there"), "{refused}");
    let unknown = at("http://cend.invalid:8080");
    assert!(unknown.contains("the name of cend.invalid is not found"), "{unknown}");
    let (https, ca) = (format!("https://{}", cend.https), cend.state.path().join("ca.pem"));
    let untrusted = at(&https);
    assert!(untrusted.contains("not trusted here") && untrusted.contains("/ca.pem") && untrusted.contains("--ca-file"));
    let wrong = at(&format!("http://{}", cend.https));
    assert!(wrong.contains("begins with https://"), "{wrong}");
    let wrong = told(
        &[&["--endpoint", &format!("https://{}", cend.endpoint), "--ca-file", ca.to_str().unwrap()][..], &call]
            .concat(),
    );
    assert!(wrong.contains("begins with http://"), "{wrong}");
    let trusted = answer(&[&["--endpoint", &https, "--ca-file", ca.to_str().unwrap()][..], &call].concat());
    assert_eq!(trusted["IdentityType"], "Account");
    let nothing = told(&[&["--endpoint", &https, "--ca-file", "/dev/null"][..], &call].concat());
    assert!(nothing.contains("/dev/null: there is no certificate in it"), "{nothing}");
}

#[test]
fn what_may_have_been_meant_is_told() {
    let told = |words: &[&str]| told_with(2, words);
    assert!(told(&["vcp", "DescribeVpcs"]).contains("vcp is no product (did you mean vpc?)"));
    assert!(told(&["vpc", "DescribeVcps"]).contains("did you mean DescribeVpcs?"));
    assert!(told(&["vpc", "CreateVpc", "--CidrBlok", "x"]).contains("did you mean CidrBlock?"));
}

/// Many set these for all their programs.
#[test]
fn the_environment_is_in_no_commands_way() {
    let mut command = gatewayctl(&["--reference"]);
    command.env("SSL_CERT_FILE", "/nowhere").env("ALIBABA_CLOUD_REGION_ID", "cn-hangzhou");
    let (code, out, err) = run(command);
    assert!(code == Some(0) && out.contains("CreateVpc"), "{err}");
    let cend = Cend::start();
    let mut command = gatewayctl(&["--endpoint", &cend.endpoint, "vpc", "DescribeVpcs"]);
    command.env("SSL_CERT_FILE", "/nowhere").env("ALIBABA_CLOUD_REGION_ID", "cn-hangzhou");
    let (code, _, err) = run(command);
    assert_eq!(code, Some(0), "{err}");
}

/// What Bash completes behind these words.
fn completed(words: &str) -> Vec<String> {
    let script = r#"
        source <(gatewayctl completion bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        $(complete -p gatewayctl | sed 's/.*-F \([^ ]*\).*/\1/') gatewayctl "${COMP_WORDS[COMP_CWORD]}" ""
        printf '%s\n' "${COMPREPLY[@]}""#;
    let folder = std::path::Path::new(GATEWAYCTL).parent().unwrap();
    let mut command = Command::new("bash");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    command.args(["--norc", "-c", script, "bash"]).args(words.split(' ')).env("PATH", path);
    let (_, out, err) = run(venv::without_proxies(command));
    assert!(err.is_empty(), "{err}");
    out.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_products_actions_parameters_and_values() {
    let has = |words: &str, expected: &[&str]| {
        let offered = completed(words);
        expected.iter().for_each(|word| assert!(offered.iter().any(|offered| offered == word), "{words}: {offered:?}"));
        offered
    };
    has("gatewayctl cl", &["cloud"]);
    has("gatewayctl cloud ", &["vpc", "cbn", "sts"]);
    has("gatewayctl cloud --all", &["--all-pages"]);
    let actions = has("gatewayctl cloud vpc DescribeVpc", &["DescribeVpcs", "DescribeVpcAttribute"]);
    assert!(actions.iter().all(|action| action.starts_with("DescribeVpc")), "{actions:?}");
    assert_eq!(completed("gatewayctl cloud --region cn-hangzhou vpc CreateVSwitch --Vpc"), ["--VpcId"]);
    has("gatewayctl cloud vpc CreateVSwitch --VpcId vpc-1 --", &["--ZoneId", "--CidrBlock"]);
    has("gatewayctl cloud cbn DescribeCens --Filter", &["--Filter.1.Key", "--Filter.1.Value.1"]);
    has("gatewayctl cloud vpc DescribeVpcs --RegionId cn-be", &["cn-beijing"]);
    has("gatewayctl cloud vpc CreateVpnConnection --EnableDpd ", &["true", "false"]);
    let none = completed("gatewayctl cloud vpc CreateVSwitch --so");
    assert!(none.is_empty(), "an option of gatewayctl behind the action: {none:?}");
}
