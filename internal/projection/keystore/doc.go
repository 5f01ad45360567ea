// Package keystore makes key stores for Java and others from private keys and certificates in PEM.
//
// It knows nothing of Connections and of where its texts come from. Its errors say which of them is wrong and how to
// cure it, and hold nothing of what stands in them.
package keystore
