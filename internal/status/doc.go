// Package status turns outcomes into conditions, in one place for every kind, as kstatus reads them: Ready is derived,
// Reconciling, Stalled and Suspended are present only while true, transition times move only on transitions. It writes
// to no API and makes no faults.
package status
