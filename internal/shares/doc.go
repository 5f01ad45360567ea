// Package shares divides among tenants what they have in common, and is used and given back, such as the memory of
// requests: no namespace gets more than a share, so that there is always something left for the others. Counts and
// Turns bound what is held, Turns wait for it; a Gate divides a whole; Limiters bound how often, a Cache what is
// remembered.
//
// It knows nothing of what is divided, and must not start a goroutine that outlives a call.
package shares
