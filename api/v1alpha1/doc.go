// Package v1alpha1 holds the API of Sallyport, group sallyport.dev, version v1alpha1: the kinds VaultConfig,
// Connection and VaultTask, and the names of their conditions, reasons, labels and annotations.
//
// It imports nothing of the rest of Sallyport, so that other programs can use it as a client library.
//
// +kubebuilder:object:generate=true
// +groupName=sallyport.dev
package v1alpha1
