//! What Meta holds against tenants' senders: templates that may not be sent, critical alerts of the last days.

use std::collections::HashMap;

use chrono::{TimeDelta, Utc};
use sqlx::PgPool;

use super::Finding;
use crate::sender::store::Complaint;
use crate::sender::{HeldTemplates, TemplateState, store};
use crate::tenant::{Tenant, TenantId};

/// Alerts of so many days are told.
const ALERTS: TimeDelta = TimeDelta::days(7);

/// Judges what Meta told of these tenants; nothing to say when it told of nothing bad.
pub(super) async fn check(pool: &PgPool, tenants: &[Tenant]) -> Result<Vec<Finding>, sqlx::Error> {
    let ids: Vec<TenantId> = tenants.iter().map(|tenant| tenant.id).collect();
    let held = store::list_held(pool, &ids).await?;
    let complaints = store::list_critical(pool, Utc::now() - ALERTS).await?;
    Ok(judge(tenants, &held, &complaints))
}

fn judge(tenants: &[Tenant], held: &HeldTemplates, complaints: &[Complaint]) -> Vec<Finding> {
    let codes: HashMap<TenantId, &str> = tenants.iter().map(|tenant| (tenant.id, tenant.code.as_str())).collect();
    let mut findings = Vec::new();
    for tenant in tenants {
        let mut templates: Vec<_> = held.get(&tenant.id).into_iter().flatten().collect();
        templates.sort_unstable_by_key(|(key, _)| *key);
        for ((name, language), held) in templates {
            let check = format!("templates of {}", tenant.code);
            let state = held.state.as_str();
            findings.push(if held.state == TemplateState::Paused {
                let detail = format!("{name} in {language} is {state} by Meta: its messages wait");
                Finding::warn(check, detail, "look at its quality in WhatsApp Manager; it goes on by itself")
            } else {
                let detail = format!("{name} in {language} is {state} by Meta: its messages are not sent");
                Finding::fail(check, detail, "change it in WhatsApp Manager, or ask Meta for a review")
            });
        }
    }
    for complaint in complaints {
        let Some(code) = codes.get(&complaint.tenant_id) else { continue };
        let words = complaint.detail.as_deref().unwrap_or_default();
        let detail = format!("{} on {}: {words}", complaint.reason, complaint.at.format("%F %R UTC"));
        let remedy = "see what Meta asks for in Meta Business Suite, Account quality";
        findings.push(Finding::fail(format!("account of {code}"), detail, remedy));
    }
    findings
}
