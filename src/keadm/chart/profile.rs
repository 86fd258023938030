//! Values that have a name of their own: `--profile version=v1.23.1`, `--profile controllermanager`.

use serde_json::{Value, json};

use super::{ChartError, given};

/// The values of `KEY[=VALUE]`; none when it looks like the name of a file.
pub fn preset(text: &str) -> Result<Option<Value>, ChartError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let wrong = |why: String| ChartError::Flag {
        flag: "--profile",
        why,
    };
    Ok(Some(match key {
        "version" if value.is_empty() => json!({}),
        "version" => tags(&given::version(value)?),
        "iptablesmgr" => match value {
            "" | "external" => json!({"iptablesManager": {"enable": true, "mode": "external"}}),
            "internal" => json!({"iptablesManager": {"enable": true, "mode": "internal"}}),
            _ => {
                return Err(wrong(format!(
                    "\"{value}\" is neither external nor internal"
                )));
            }
        },
        "controllermanager" if value.is_empty() => json!({"controllerManager": {"enable": true}}),
        _ if text.contains(['/', '.']) && !text.contains('=') => return Ok(None),
        _ => {
            return Err(wrong(format!(
                "\"{text}\" is neither a file nor one of version=VERSION, iptablesmgr=external, \
                 iptablesmgr=internal, controllermanager"
            )));
        }
    }))
}

/// The images of KubeEdge in this version; mosquitto has versions of its own.
pub fn tags(version: &str) -> Value {
    let tag = || json!({"image": {"tag": version}});
    json!({
        "cloudCore": tag(),
        "iptablesManager": tag(),
        "controllerManager": tag(),
        "admission": tag(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_and_files_are_told_apart() {
        assert_eq!(preset("./version.yaml").unwrap(), None);
        assert_eq!(preset("values.yaml").unwrap(), None);
        assert_eq!(
            preset("version=1.22.0").unwrap().unwrap()["cloudCore"]["image"]["tag"],
            "v1.22.0"
        );
        // K26: it does what it is called for.
        assert_eq!(
            preset("controllermanager").unwrap().unwrap()["controllerManager"]["enable"],
            true
        );
        assert_eq!(
            preset("iptablesmgr=internal").unwrap().unwrap()["iptablesManager"]["mode"],
            "internal"
        );
        for wrong in [
            "version=x",
            "iptablesmgr=both",
            "controllermanager=1",
            "other",
            "other=./x",
        ] {
            assert!(preset(wrong).is_err(), "{wrong}");
        }
    }
}
