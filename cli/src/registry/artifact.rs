//! The layout of a Wasm OCI artifact: a manifest, a configuration that says what the module is, and the module as the
//! only layer (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>).

use super::{Digest, MAX_MODULE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wasmparser::{Encoding, Parser, Payload};

/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of the configuration.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Of the module.
pub const LAYER: &str = "application/wasm";

/// Of the module, before there was the layout: `wasm-to-oci` and Spin.
const FORMER_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// Of a list of manifests, one for each platform.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// What is asked for (`Accept`): also what is refused, so that the message can say what it is.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                            application/vnd.docker.distribution.manifest.v2+json, \
                            application/vnd.docker.distribution.manifest.list.v2+json";

/// A blob, as a manifest names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes).to_string(),
            size: bytes.len() as u64,
        }
    }
}

/// A manifest; what is not needed here is left out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    /// An index has none.
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// The configuration, which tells a runtime what the module is without reading it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    created: String,
    architecture: &'static str,
    os: &'static str,
    layer_digests: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<Component>,
}

/// The outermost imports and exports of a component.
#[derive(Default, Serialize)]
struct Component {
    exports: Vec<String>,
    imports: Vec<String>,
}

/// All that is pushed for a module.
pub struct Artifact {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// When the artifact was made, if `$SOURCE_DATE_EPOCH` does not say: the same module has the same digest on
/// each machine and at any time.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl Artifact {
    /// The artifact for a module with this file name. `created` is a time of RFC 3339.
    ///
    /// # Errors
    /// When it is no WebAssembly.
    pub fn of(wasm: &[u8], title: &str, created: Option<&str>) -> Result<Self, String> {
        let component = component(wasm).map_err(|error| format!("not a WebAssembly module: {error}"))?;
        let config = Config {
            created: created.unwrap_or(CREATED).to_owned(),
            architecture: "wasm",
            os: if component.is_some() { "wasip2" } else { "wasip1" },
            layer_digests: vec![Digest::of(wasm).to_string()],
            component,
        };
        let json = |error: serde_json::Error| error.to_string();
        let config = serde_json::to_vec(&config).map_err(json)?;
        let title = ("org.opencontainers.image.title".to_owned(), title.to_owned());
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Some(Descriptor::of(CONFIG, &config)),
            layers: vec![Descriptor::of(LAYER, wasm)],
            annotations: BTreeMap::from([title]),
        };
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        Ok(Self { config, manifest })
    }
}

/// What a component imports and exports; `None` for a core module.
fn component(wasm: &[u8]) -> Result<Option<Component>, wasmparser::BinaryReaderError> {
    let mut depth = 0;
    let mut component = None;
    let mut is_module = false;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding, .. } if depth == 0 && component.is_none() => {
                is_module = encoding == Encoding::Module;
                component = Some(Component::default());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import?.name.name.to_owned();
                    component.get_or_insert_default().imports.push(name);
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let name = export?.name.name.to_owned();
                    component.get_or_insert_default().exports.push(name);
                }
            }
            _ => {}
        }
    }
    Ok(component.filter(|_| !is_module))
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("what it has there is no manifest: {error}"))
    }

    /// The layer that is the module.
    ///
    /// # Errors
    /// When there is none, or what else there is cannot be served.
    pub fn module(&self) -> Result<&Descriptor, String> {
        if INDEXES.contains(&self.media_type.as_str()) || self.config.is_none() {
            return Err("an index of several artifacts (give the digest of one of them)".to_owned());
        }
        let [layer] = &self.layers[..] else {
            return Err(format!(
                "it has {} layers, a module has one (what `wasm-sock push` or `wkg oci push` makes can be installed)",
                self.layers.len()
            ));
        };
        if ![LAYER, FORMER_LAYER].contains(&layer.media_type.as_str()) {
            return Err(format!(
                "no WebAssembly module but {:?} (what `wasm-sock push` or `wkg oci push` makes can be installed)",
                layer.media_type.chars().take(100).collect::<String>()
            ));
        }
        if layer.size > MAX_MODULE {
            return Err(format!(
                "the module has {} MiB, at most {} are pulled (copy the file, and install that)",
                layer.size >> 20,
                MAX_MODULE >> 20
            ));
        }
        Ok(layer)
    }
}
