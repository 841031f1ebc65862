//! What the derived schemas cannot say.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrBool, ValidationRule,
};

/// A rule that lets a field be the name of a namespace alone.
pub(super) const IS_NAMESPACE: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')";
/// A rule that lets a field be the name of a ConfigMap alone.
pub(super) const IS_NAME: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";

/// A definition as it was derived, with what holds for both kinds: an object from before `spec` was required can still be written,
/// and a status that nobody wrote yet is of no generation. `selections`: fields of the spec for [`drop_nothing`]. `names`: what
/// the spec names.
pub(super) fn completed(
    mut definition: CustomResourceDefinition,
    selections: &[&str],
    names: &str,
) -> CustomResourceDefinition {
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for root in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        root.required = None;
        let properties = root.properties.get_or_insert_default();
        let fields = properties.get_mut("spec").and_then(|spec| spec.properties.as_mut());
        let fields = fields.into_iter().flatten().filter(|(field, _)| selections.contains(&field.as_str()));
        fields.for_each(|(_, schema)| drop_nothing(schema));
        if let Some(status) = properties.get_mut("status") {
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
        root.x_kubernetes_validations = Some(vec![ValidationRule {
            rule: "has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))".to_owned(),
            message: Some(format!("spec is missing: it names {names}")),
            optional_old_self: Some(true),
            ..ValidationRule::default()
        }]);
    }
    definition
}

/// Makes the server keep in a selection what it would drop, for a rule of the selection to refuse: dropping widens a selection in
/// silence, up to `{}`, which means everything.
///
/// It drops fields that it does not know, with a mere warning where the client is not strict (helm is not): nothing would be
/// left of `{matchlabels: …}`. And it drops nulls, as in `team: {{ .Values.team }}` of a chart whose value is not set.
fn drop_nothing(selection: &mut JSONSchemaProps) {
    selection.x_kubernetes_preserve_unknown_fields = Some(true);
    for field in selection.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        field.nullable = Some(true);
        if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut field.additional_properties {
            value.nullable = Some(true);
        }
    }
}
