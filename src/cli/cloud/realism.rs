//! The words for how real the cloud is: they become the actions that cend has for it.

/// Nothing is as in the real cloud any more. The seed stays, as it does nothing by itself.
const OFF: [&str; 3] = ["--Delay=0", "--BusyFrequency=0", "--CallsPerSecond=0"];

/// The action that `realism WORD` stands for, and its parameters.
///
/// # Errors
///
/// What may be said, where the word is another, or `set` has nothing to set.
pub fn action(word: Option<&str>, parameters: &mut Vec<String>) -> Result<&'static str, String> {
    match word {
        None | Some("show") => Ok("DescribeRealism"),
        Some("set") if parameters.is_empty() => Err("realism set what? See: realism set help".to_owned()),
        Some("set") => Ok("ModifyRealism"),
        Some("off") => {
            parameters.extend(OFF.map(str::to_owned));
            Ok("ModifyRealism")
        }
        Some(other) => Err(format!("realism {other}? Allowed: show, set, off")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;
    use crate::cen::openapi::reference;
    use crate::io::openapi_client::Product;

    #[test]
    fn words_about_realism_are_actions_that_cend_has() {
        let read = |word: Option<&str>, parameters: &[&str]| {
            let mut parameters = parameters.iter().map(|&word| word.to_owned()).collect();
            action(word, &mut parameters).map(|action| (action, parameters))
        };
        assert_eq!(read(None, &[]).unwrap().0, "DescribeRealism");
        assert_eq!(read(Some("show"), &[]).unwrap().0, "DescribeRealism");
        for (word, parameters) in
            [("off", &[][..]), ("set", &["--Delay", "3000", "--BusyFrequency=0.2", "--Seed", "1"])]
        {
            let (action, parameters) = read(Some(word), parameters).unwrap();
            let action = reference::action(Product::Cend.version(), action).unwrap();
            words::check_known(action, &words::parameters(&parameters).unwrap()).unwrap();
        }
        assert!(read(Some("set"), &[]).is_err() && read(Some("on"), &[]).is_err());
    }
}
