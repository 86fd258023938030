//! Platforms, such as `linux/arm/v7`, and which image of several is the best for one.

use std::env::consts;
use std::fmt;
use std::str::FromStr;

use crate::system::build;

/// For which machines an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    /// In Go's words: amd64, arm64, arm.
    pub architecture: String,
    /// `v7`; empty for the architecture's usual one.
    pub variant: String,
}

impl Platform {
    /// This machine's, as this executable was built: what it can run itself.
    pub fn here() -> Platform {
        let (architecture, variant) = match consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" if build::TARGET.starts_with("armv5") => ("arm", "v5"),
            "arm" if build::TARGET.starts_with("arm-") => ("arm", "v6"),
            "arm" => ("arm", "v7"),
            "mips" if cfg!(target_endian = "little") => ("mipsle", ""),
            other => (other, ""),
        };
        Platform {
            os: consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// How well an image for `self` runs on `machine`: the more, the better; none when not at all.
    pub fn suits(&self, machine: &Platform) -> Option<u32> {
        let other = self.os != machine.os || self.architecture != machine.architecture;
        if other {
            return None;
        }
        let (own, wanted) = (self.level()?, machine.level()?);
        // Newer processors run what is for older ones, and best what is for themselves.
        (own <= wanted).then_some(own)
    }

    /// The variant as a number; none when it is not known.
    fn level(&self) -> Option<u32> {
        match (self.architecture.as_str(), self.variant.as_str()) {
            // As Docker has it: an image for arm that does not say more is for v7.
            ("arm", "") => Some(7),
            ("arm64", "") => Some(8),
            (_, "") => Some(1),
            (_, variant) => variant.strip_prefix('v')?.parse().ok(),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// `linux/arm/v7`, `linux/arm64`, or the architecture alone.
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(PlatformError),
        };
        let word = |word: &str| {
            word.len() <= 32
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if os.is_empty()
            || architecture.is_empty()
            || ![os, architecture, variant].into_iter().all(word)
        {
            return Err(PlatformError);
        }
        let (architecture, variant) = match (architecture, variant) {
            ("aarch64", variant) => ("arm64", variant),
            ("x8664", variant) => ("amd64", variant),
            ("armv7", "") => ("arm", "v7"),
            ("armv6", "") => ("arm", "v6"),
            known => known,
        };
        let platform = Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        };
        platform.level().map(|_| ()).ok_or(PlatformError)?;
        Ok(platform)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(f, "/{variant}"),
        }
    }
}

/// A text that is no platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformError;

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a platform: write one as linux/arm/v7, linux/arm64 or linux/amd64")
    }
}

impl std::error::Error for PlatformError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_variant_wins() {
        let suits = |image: &str, machine: &str| {
            let [image, machine] = [image, machine].map(|text| text.parse::<Platform>().unwrap());
            image.suits(&machine)
        };
        assert_eq!(suits("linux/arm/v7", "linux/arm/v7"), Some(7));
        assert_eq!(suits("linux/arm/v6", "linux/arm/v7"), Some(6));
        assert_eq!(suits("linux/arm/v7", "linux/arm/v6"), None);
        assert_eq!(suits("linux/arm", "linux/arm/v7"), Some(7));
        assert_eq!(suits("linux/arm64/v8", "arm64"), Some(8));
        assert_eq!(suits("linux/arm64", "linux/arm64/v8"), Some(8));
        assert_eq!(suits("linux/amd64/v3", "amd64"), None);
        assert_eq!(suits("windows/amd64", "amd64"), None);
        assert_eq!(suits("linux/arm/v7", "linux/arm64"), None);
    }

    #[test]
    fn platforms_are_read() {
        assert_eq!(Platform::here().to_string().parse(), Ok(Platform::here()));
        assert_eq!(
            "armv7".parse::<Platform>().unwrap().to_string(),
            "linux/arm/v7"
        );
        for bad in [
            "",
            "/",
            "linux/",
            "linux/arm/vx",
            "a/b/c/d",
            "Linux/arm",
            "linux/arm/v7/",
        ] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError), "{bad}");
        }
    }
}
