-- Orders of two years between 27 states laid out by their real places; the farther, the longer they take.
CREATE TABLE states AS SELECT * FROM (VALUES
  ('SP', -23.5, -46.6, 40), ('RJ', -22.9, -43.2, 14), ('MG', -19.9, -43.9, 11), ('RS', -30.0, -51.2, 5),
  ('PR', -25.4, -49.3, 5), ('BA', -12.9, -38.5, 4), ('SC', -27.6, -48.5, 3), ('GO', -16.7, -49.3, 2),
  ('DF', -15.8, -47.9, 2), ('ES', -20.3, -40.3, 2), ('PE', -8.1, -34.9, 2), ('CE', -3.7, -38.5, 2),
  ('PA', -1.5, -48.5, 1), ('MT', -15.6, -56.1, 1), ('MA', -2.5, -44.3, 1), ('PB', -7.1, -34.9, 1),
  ('MS', -20.4, -54.6, 1), ('PI', -5.1, -42.8, 1), ('AL', -9.7, -35.7, 1), ('SE', -10.9, -37.1, 1),
  ('RN', -5.8, -35.2, 1), ('RO', -8.8, -63.9, 1), ('TO', -10.2, -48.3, 1), ('AC', -10.0, -67.8, 1),
  ('AP', 0.0, -51.1, 1), ('RR', 2.8, -60.7, 1), ('AM', -3.1, -60.0, 1)) AS t(state, lat, lng, share);

CREATE TABLE zips AS
SELECT row_number() OVER (ORDER BY state, k) - 1 AS z, state,
  lpad((10000 + 131 * row_number() OVER (ORDER BY state, k))::TEXT, 5, '0') AS prefix,
  lat + 1.5 * (u(k, state) - 0.5) AS lat, lng + 1.5 * (u(k, state || 'e') - 0.5) AS lng
FROM states, range(share * 4) AS t(k);

CREATE TABLE places AS
SELECT prefix AS geolocation_zip_code_prefix, lat + 0.01 * k AS geolocation_lat, lng - 0.01 * k AS geolocation_lng,
  'city ' || prefix AS geolocation_city, state AS geolocation_state
FROM zips, range(2) AS t(k) ORDER BY prefix, k;

CREATE TABLE sellers AS
SELECT md5('seller' || s) AS seller_id, prefix AS seller_zip_code_prefix, 'city ' || prefix AS seller_city,
  state AS seller_state
FROM range(greatest(sampled() // 20, 5)) AS t(s)
  JOIN zips ON z = floor(u(s, 'seller') ** 2 * (SELECT count(*) FROM zips))
ORDER BY s;

CREATE TABLE products AS
SELECT md5('product' || p) AS product_id, pick(p, 'category', ['cama_mesa_banho', 'beleza_saude', 'moveis_decoracao',
    'esporte_lazer', 'informatica_acessorios', 'telefonia', 'brinquedos', 'livros_tecnicos', NULL]) AS product_category_name,
  floor(20 + 40 * u(p, 'name'))::DOUBLE AS product_name_lenght,
  floor(100 + 2000 * u(p, 'text'))::DOUBLE AS product_description_lenght,
  floor(1 + 5 * u(p, 'photos'))::DOUBLE AS product_photos_qty,
  floor(50 + exp(5 + 4 * u(p, 'weight')))::BIGINT AS product_weight_g, floor(10 + 60 * u(p, 'l'))::BIGINT AS product_length_cm,
  floor(2 + 40 * u(p, 'h'))::BIGINT AS product_height_cm, floor(8 + 50 * u(p, 'w'))::BIGINT AS product_width_cm
FROM range(greatest(sampled() // 2, 5)) AS t(p) ORDER BY p;

CREATE TABLE customers AS
SELECT md5('customer' || i) AS customer_id, md5('person' || i) AS customer_unique_id, prefix AS customer_zip_code_prefix,
  'city ' || prefix AS customer_city, state AS customer_state
FROM range(sampled()) AS t(i) JOIN zips ON z = floor(u(i, 'customer') * (SELECT count(*) FROM zips)) ORDER BY i;

CREATE TABLE items AS
SELECT md5('order' || i) AS order_id, k + 1 AS order_item_id,
  md5('product' || floor(u(i, 'product' || k) * greatest(sampled() // 2, 5))::BIGINT) AS product_id,
  md5('seller' || floor(u(i, 'shop' || CASE WHEN k > 0 AND u(i, 'two') < 0.2 THEN k ELSE 0 END) ** 2
    * greatest(sampled() // 20, 5))::BIGINT) AS seller_id,
  TIMESTAMP '2017-01-07' + to_hours((600 * 24 * i // sampled())::INT) AS shipping_limit_date,
  round(exp(3 + 3 * u(i, 'price' || k)), 2) AS price, round(8 + 30 * u(i, 'freight' || k) ** 2, 2) AS freight_value
FROM range(sampled()) AS t(i), range(8) AS n(k) WHERE k = 0 OR u(i, 'items') < 0.1 / k ORDER BY i, k;

CREATE TABLE orders AS
WITH asked AS (
  SELECT i, md5('order' || i) AS order_id, TIMESTAMP '2017-01-01' + to_seconds(600.0 * 86400 * i / sampled()) AS bought,
    6371 * acos(least(1, sin(radians(a.lat)) * sin(radians(b.lat))
      + cos(radians(a.lat)) * cos(radians(b.lat)) * cos(radians(a.lng - b.lng)))) AS km
  FROM range(sampled()) AS t(i)
    JOIN customers ON customer_id = md5('customer' || i) JOIN zips AS a ON a.prefix = customer_zip_code_prefix
    JOIN (SELECT order_id, min(seller_id) AS seller_id FROM items GROUP BY 1) AS first ON first.order_id = md5('order' || i)
    JOIN sellers USING (seller_id) JOIN zips AS b ON b.prefix = seller_zip_code_prefix
), timed AS (
  SELECT *, exp(1.7 + 0.00035 * km - 0.2 * i / sampled() + 0.45 * z(i, 'days')) AS took, u(i, 'status') < 0.85 AS done
  FROM asked
)
SELECT order_id, md5('customer' || i) AS customer_id, CASE WHEN done THEN 'delivered' ELSE 'shipped' END AS order_status,
  date_trunc('second', bought) AS order_purchase_timestamp, date_trunc('second', bought + INTERVAL 2 HOUR) AS order_approved_at,
  date_trunc('second', bought + to_seconds(86400 * took * 0.3)) AS order_delivered_carrier_date,
  CASE WHEN done THEN date_trunc('second', bought + to_seconds(86400 * took)) END AS order_delivered_customer_date,
  date_trunc('day', bought + to_days((15 + 0.01 * km)::INT)) AS order_estimated_delivery_date
FROM timed ORDER BY i;
