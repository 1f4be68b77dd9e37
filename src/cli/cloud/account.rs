//! Who calls, and where: an access key from the command line, a file, the environment, or a profile of the cloud's own
//! command line.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::crypto::Secret;
use crate::io::private_file;

/// The largest file with a key that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// Who calls.
pub struct Account {
    /// The access key's id,
    pub id: String,
    /// and its secret.
    pub secret: Secret,
    /// The region of calls that name none, and where the calls go, if the profile says so.
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

impl Account {
    /// From `ID:SECRET`.
    pub fn of_pair(pair: &str) -> Result<Self, String> {
        match pair.trim_end_matches(['\r', '\n']).split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(Self {
                id: id.to_owned(),
                secret: Secret::new(secret.as_bytes().to_vec()),
                region: None,
                endpoint: None,
            }),
            _ => Err("the access key is not of the form ID:SECRET".to_owned()),
        }
    }

    /// From a file that nobody else may read, with one line `ID:SECRET`.
    pub fn of_file(file: &Path) -> Result<Self, String> {
        Self::of_pair(&private_file::read(file, FILE_LIMIT).map_err(|error| error.to_string())?)
    }

    /// From the variables that the cloud's own clients read.
    pub fn of_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let id = variable("ALIBABA_CLOUD_ACCESS_KEY_ID");
        let secret = variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
        let (Some(id), Some(secret)) = (id, secret) else {
            return Err("no access key: give --access-key-file, --access-key or --profile, or set \
                        ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET"
                .to_owned());
        };
        Self::of_pair(&Zeroizing::new(format!("{id}:{secret}")))
    }

    /// From the profile of this name in `~/.aliyun/config.json`.
    pub fn of_profile(name: &str) -> Result<Self, String> {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.ok_or("HOME is not set, so there is no ~/.aliyun/config.json with profiles")?;
        Self::of_profile_in(&PathBuf::from(home).join(".aliyun/config.json"), name)
    }

    fn of_profile_in(file: &Path, name: &str) -> Result<Self, String> {
        let text = private_file::read(file, FILE_LIMIT).map_err(|error| error.to_string())?;
        // What the parser says of a value could quote a secret: where it stands is enough.
        let profiles: Profiles = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("{}: not a configuration of the aliyun command line (line {line}, column {column})", file.display())
        })?;
        let names = || profiles.profiles.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ");
        let profile = profiles.profiles.iter().find(|profile| profile.name == name);
        let profile =
            profile.ok_or_else(|| format!("{} has no profile {name}; it has: {}", file.display(), names()))?;
        if profile.mode != "AK" {
            return Err(format!(
                "profile {name} has the mode {}; gatewayctl takes access keys (AK) only",
                profile.mode
            ));
        }
        if profile.access_key_id.is_empty() || profile.access_key_secret.is_empty() {
            return Err(format!("profile {name} has no access key"));
        }
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(Self {
            id: profile.access_key_id.clone(),
            secret: Secret::new(profile.access_key_secret.as_bytes().to_vec()),
            region: given(&profile.region_id),
            endpoint: given(&profile.endpoint),
        })
    }
}

/// The file, as far as it is of use here. The allocator of the program zeroes what is freed of it.
#[derive(Deserialize)]
struct Profiles {
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    name: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    access_key_id: String,
    #[serde(default)]
    access_key_secret: String,
    #[serde(default)]
    region_id: String,
    #[serde(default)]
    endpoint: String,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn private(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_key_file_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        private(&path, "tutorial:se:cret\n");
        let account = Account::of_file(&path).unwrap();
        assert_eq!((account.id.as_str(), account.secret.as_bytes()), ("tutorial", b"se:cret".as_slice()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Account::of_file(&path).err().unwrap().contains("0644"));
        assert!(Account::of_pair("only-an-id").is_err());
    }

    #[test]
    fn a_profile_is_read_as_the_clouds_command_line_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        private(
            &path,
            r#"{"current": "default", "meta_path": "", "profiles": [
                {"name": "default", "mode": "AK", "access_key_id": "", "access_key_secret": "", "retry_count": 0},
                {"name": "lab", "mode": "AK", "access_key_id": "id", "access_key_secret": "s:1", "region_id": "cn-beijing",
                 "output_format": "json", "sts_token": "", "endpoint": "127.0.0.1:8443"},
                {"name": "role", "mode": "RamRoleArn", "access_key_id": "id", "access_key_secret": "s2"}]}"#,
        );
        let read = |name| Account::of_profile_in(&path, name);
        let lab = read("lab").ok().unwrap();
        assert_eq!((lab.id.as_str(), lab.secret.as_bytes()), ("id", b"s:1".as_slice()));
        assert_eq!((lab.region.as_deref(), lab.endpoint.as_deref()), (Some("cn-beijing"), Some("127.0.0.1:8443")));
        assert!(read("default").err().unwrap().contains("no access key"));
        assert!(read("role").err().unwrap().contains("mode RamRoleArn"));
        assert!(read("other").err().unwrap().contains("it has: default, lab, role"));
        private(&path, r#"{"profiles": [{"name": "lab", "access_key_secret": "hush", "mode": 7}]}"#);
        let told = read("lab").err().unwrap();
        assert!(told.contains("line 1") && !told.contains("hush"), "{told}");
    }
}
