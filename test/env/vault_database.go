package env

import (
	"crypto/rand"
	"fmt"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
)

// DatabaseConnection is the name under which MountDatabase configures the database: what is rotated is
// PATH/rotate-root/postgres.
const DatabaseConnection = "postgres"

// DatabaseRole is a role of Vault's database engine, under which Vault makes users that live as long as their lease.
type DatabaseRole struct {
	// Creation are the statements that make a user, with {{name}}, {{password}} and {{expiration}}; none:
	// PostgresLogin.
	Creation []string
	// DefaultTTL and MaxTTL of a lease; zero: Vault's own.
	DefaultTTL, MaxTTL time.Duration
}

// PostgresLogin makes a user that can log in until its lease ends.
const PostgresLogin = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`

// MountDatabase is the function of that name.
func (v *Vault) MountDatabase(path string, database *Postgres, roles map[string]DatabaseRole) (username, password string) {
	return MountDatabase(v.client, path, database, roles)
}

// MountDatabase enables the database engine of a Vault at path, connected to database as a superuser of Vault's own,
// whose name and first password it returns, with roles by name. It panics if Vault refuses.
func MountDatabase(client *vaultapi.Client, path string, database *Postgres, roles map[string]DatabaseRole) (username, password string) {
	username, password = "vault-"+rand.Text(), rand.Text()
	database.AddRole(username, password, "SUPERUSER")
	must(client.Sys().Mount(path, &vaultapi.MountInput{Type: "database"}))
	write := func(path string, data map[string]any) {
		_, err := client.Logical().Write(path, data)
		must(err)
	}
	write(path+"/config/"+DatabaseConnection, map[string]any{
		"plugin_name":    "postgresql-database-plugin",
		"connection_url": fmt.Sprintf("postgresql://{{username}}:{{password}}@%s/postgres?sslmode=disable", database.Address()),
		"username":       username, "password": password, "allowed_roles": "*",
	})
	for name, role := range roles {
		creation := role.Creation
		if creation == nil {
			creation = []string{PostgresLogin}
		}
		write(path+"/roles/"+name, map[string]any{
			"db_name": DatabaseConnection, "creation_statements": creation,
			"default_ttl": vaultDuration(role.DefaultTTL), "max_ttl": vaultDuration(role.MaxTTL),
		})
	}
	return username, password
}

// AddStaticRole gives an existing user of the database to Vault, which sets a password of its own at once, and readers
// find it at PATH/static-creds/NAME. It is rotated on demand: the period is a day.
func (v *Vault) AddStaticRole(path, name, username string) {
	v.write(path+"/static-roles/"+name, map[string]any{
		"db_name": DatabaseConnection, "username": username, "rotation_period": "24h",
	})
}

// RevokeLeases revokes all leases below a path, as somebody else might: PUT sys/leases/revoke-prefix/PREFIX.
func (v *Vault) RevokeLeases(prefix string) { must(v.client.Sys().RevokePrefix(prefix)) }

func (v *Vault) write(path string, data map[string]any) {
	_, err := v.client.Logical().Write(path, data)
	must(err)
}
